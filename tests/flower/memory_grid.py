"""A grid in memory: real ClientApps called directly, messages through Flower's own encoding.

No network and no process but the enclave's. A node may be made to be silent, or to have its reply
changed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.supercore.task_identity import TaskIdentity

Change = Callable[[Message], Message | None]


class MemoryGrid:
    """As much of Flower's Grid as a strategy uses."""

    def __init__(self, app: ClientApp, node_configs: dict[int, dict[str, object]]) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
        self.app = app
        self.contexts = {
            node: Context(
                run_id=1, node_id=node, node_config=config, state=RecordDict(), run_config={}
            )
            for node, config in node_configs.items()
        }
        self.on_request: dict[int, Change] = {}
        self.on_reply: dict[int, Change] = {}
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self.errors: list[str] = []

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        del timeout
        return [reply for message in messages if (reply := self._deliver(message)) is not None]

    def _deliver(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        # What Flower's transport sets when a message is pushed.
        message.metadata.__dict__["_message_id"] = f"m{len(self.sent)}"
        encoded = message_to_proto(message).SerializeToString()
        self.sent.append(encoded)
        request = message_from_proto(type(message_to_proto(message)).FromString(encoded))
        changed = self.on_request.get(node, _same)(request)
        if changed is None:
            return None
        try:
            reply = self.app(changed, self.contexts[node])
        except Exception as error:
            # As Flower does: the exception's text goes to the server.
            reply = Message(Error(2, str(error)), reply_to=changed)
        self.answered.append(message_to_proto(reply).SerializeToString())
        if reply.has_error():
            self.errors.append(str(reply.error.reason))
        return self.on_reply.get(node, _same)(reply)


def _same(message: Message) -> Message:
    return message
