"""What goes out to the clients: FedEnclave's record and one flat array instead of the arrays.

The wrapped strategy's messages say who is asked and how to train; the rest of them is made anew.

SPEC.md, section 15.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from fedenclave.flower import told
from fedenclave.flower.carrier import BULK, RECORD
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError


def rewritten(message: Message, record: ConfigRecord, bulk: ArrayRecord) -> Message:
    """Return `message` with `record` and `bulk` for its arrays, and its configuration kept."""
    content = RecordDict({RECORD: record, BULK: bulk})
    for key, config in message.content.config_records.items():
        content[key] = config
    return Message(
        content=content,
        message_type=message.metadata.message_type,
        dst_node_id=message.metadata.dst_node_id,
    )


def told_to_all(messages: Iterable[Message], arrays_key: str) -> Digest:
    """Return the digest of what every one of `messages` will tell its client's app.

    Raises:
        ConfigurationError: they tell clients different things.
    """
    bare = (rewritten(message, ConfigRecord(), ArrayRecord()) for message in messages)
    digests = {told.message_digest(message, arrays_key) for message in bare}
    if len(digests) != 1:
        raise ConfigurationError(
            f"the strategy configures its clients in {len(digests)} different ways, want one",
            hint="clients refuse to train unless all are told the same: differences would "
            "single out one client's update",
        )
    return digests.pop()
