"""The app as one of several banks' nodes inside Flower's simulation engine.

There every node is the same process with a partition number, where a SuperNode has a configuration
of its own. `PlacedApp` gives each number what its SuperNode would have been told: the bank's client
folder, with its keys and its approved manifest, and the file of its loans. From there on everything
is as in a deployment.

A module of its own, because the engine's workers import it by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from bank.client_app import app

Setting = bool | int | float | str


class PlacedApp(ClientApp):
    """`bank.client_app.app`, told which bank it is."""

    def __init__(
        self, nodes: Sequence[Mapping[str, Setting]], run_config: Mapping[str, Setting]
    ) -> None:
        """Take each node's configuration, by partition, and the run's."""
        super().__init__()
        self._nodes, self._run_config = nodes, run_config

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message as the bank of this partition."""
        partition = int(context.node_config["partition-id"])
        # The engine takes back what is kept in `state`, and refuses a context changed otherwise.
        own = Context(
            run_id=context.run_id,
            node_id=context.node_id,
            node_config={**context.node_config, **self._nodes[partition]},
            state=context.state,
            run_config=dict(self._run_config),
            series_id=context.series_id,
        )
        return app(message, own)
