"""Flower's SecAgg+: the server's part of a masked round, by `SecAggPlusWorkflow` (legacy API).

The whole protocol runs, with `secaggplus_mod` as every client; each message goes through the
objects in which Flower carries it. "arrived" is the server's time alone, over all four stages: from
the objects of the replies through inflation, the sum of masked vectors, and the removal of each
client's private mask, to the new model. "one dropped" is the same where the last client is lost
before its masked vector, so that the server removes its pairwise masks too. Beside them "client",
one client's time for all stages. Not counted: what the server sends.

Every client gives shares of its key to half of the cohort, and half of these restore it. The rest
is Flower's default: parameters clipped to 8, quantised to 2^22 steps for each client, and summed
modulo 2^32, hence the error. Flower draws masks from NumPy's Mersenne Twister under a 32-bit seed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
from flwr.compat.common import recorddict_compat
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

from benchmarks.flower_messages import inflated, quiet, sent
from benchmarks.measure import timed
from benchmarks.peers.figures import (
    ARRIVED,
    all_trained,
    figures,
    largest_difference,
    main,
    true_mean,
)
from benchmarks.trained import num_examples

SHARE = 0.5
MASKED_STAGE = 3


class Clients:
    """Every client, and the grid between them and the server, without a network."""

    def __init__(self, trained: Sequence[NDArray[np.float32]], dropped: int | None) -> None:
        self._trained = trained
        self._dropped = dropped
        self._stage = 0
        self._contexts = [Context(1, node_of(i), {}, RecordDict(), {}) for i in range(len(trained))]
        self.seconds = 0.0
        self.not_counted = 0.0
        self.largest_reply = 0

    def send_and_receive(self, messages: Iterable[Message], **_: Any) -> list[Message]:
        """Return the replies; only their inflation is the server's time."""
        start = time.perf_counter()
        self._stage += 1
        replies = [sent(self._reply(inflated(sent(message)))) for message in messages]
        sizes = [sum(map(len, reply.objects.values())) for reply in replies]
        self.largest_reply = max(self.largest_reply, *sizes)
        self.not_counted += time.perf_counter() - start
        return [inflated(reply) for reply in replies]

    def _reply(self, message: Message) -> Message:
        client = message.metadata.dst_node_id - node_of(0)
        if client == self._dropped and self._stage >= MASKED_STAGE:
            return Message(Error(code=0, reason="dropped"), reply_to=message)
        context = self._contexts[client]
        reply, took = timed(lambda: secaggplus_mod(message, context, self._train))
        self.seconds += took
        return reply

    def _train(self, message: Message, context: Context) -> Message:
        client = context.node_id - node_of(0)
        parameters = ndarrays_to_parameters([self._trained[client]])
        result = FitRes(Status(Code.OK, ""), parameters, num_examples(client), {})
        return Message(recorddict_compat.fitres_to_recorddict(result, False), reply_to=message)


def node_of(client: int) -> int:
    """Return a client's node id; the server is 1."""
    return client + 2


def legacy_context(clients: int, first: NDArray[np.float32], grid: Clients) -> LegacyContext:
    """Return what a ServerApp of the legacy API has in its first round."""
    state = RecordDict(
        {
            MAIN_CONFIGS_RECORD: ConfigRecord({Key.CURRENT_ROUND: 1}),
            MAIN_PARAMS_RECORD: ArrayRecord([first]),
        }
    )
    manager = SimpleClientManager()
    for i in range(clients):
        manager.register(GridClientProxy(node_of(i), grid, 1))
    strategy = FedAvg(min_fit_clients=clients, min_available_clients=clients)
    return LegacyContext(Context(1, 1, {}, state, {}), None, strategy, manager)


def measure_round(
    trained: Sequence[NDArray[np.float32]], dropped: int | None
) -> tuple[NDArray[Any], float, Clients]:
    """Return the new model, the server's seconds, and what the clients did."""
    # A message asks for the identity of the task that sends it.
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    clients = Clients(trained, dropped)
    context = legacy_context(len(trained), np.zeros_like(trained[0]), clients)
    _, took = timed(lambda: SecAggPlusWorkflow(SHARE, SHARE)(clients, context))
    (model,) = context.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()
    return model, took - clients.not_counted, clients


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of SecAgg+."""
    quiet()
    trained = all_trained(clients, parameters)
    seconds: dict[str, list[float]] = {ARRIVED: [], "one dropped": [], "client": []}
    error = 0.0
    last = clients - 1
    cases = [
        (ARRIVED, None, true_mean(trained)),
        ("one dropped", last, true_mean(trained[:last])),
    ]
    for _ in range(repeat + 1):
        for way, dropped, expected in cases:
            model, took, grid = measure_round(trained, dropped)
            seconds[way].append(took)
            error = max(error, largest_difference(model, expected))
            if dropped is None:
                seconds["client"].append(grid.seconds / clients)
                wire = grid.largest_reply / (4 * parameters)
    return figures(
        seconds={way: found[1:] for way, found in seconds.items()},
        largest_error=error,
        packages=("flwr",),
        wire=wire,
    )


if __name__ == "__main__":
    sys.exit(main("flower_secagg", measure))
