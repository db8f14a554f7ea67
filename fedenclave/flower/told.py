"""What a Flower app is told about how to train, besides the model: one digest on both sides.

The strategy computes it from the messages it is about to send, a client from the message that came
and its own run configuration. Everything an app can read of what the operator wrote is in it.

SPEC.md, section 15.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Context, Message

from fedenclave.flower.carrier import RECORD
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.training_config import Table, configuration

_RECORDS = "record:"


def message_digest(message: Message, arrays_key: str) -> Digest:
    """Return the digest of what `message` tells an app that finds the model under `arrays_key`.

    Raises:
        MalformedMessage: a value cannot be in a configuration.
    """
    metadata = message.metadata
    tables: dict[str, Table] = {
        "message": {
            "arrays-key": arrays_key,
            # Flower calls another function of the app for `train.other`.
            "message-type": metadata.message_type,
            "group-id": metadata.group_id,
        }
    }
    for name, record in message.content.config_records.items():
        if name != RECORD:
            tables[_RECORDS + name] = record
    return configuration(tables).digest


def run_digest(context: Context) -> Digest:
    """Return the digest of the run configuration that a client was sent.

    Raises:
        MalformedMessage: a value cannot be in a configuration.
    """
    run: Mapping[str, bool | int | float | str] = context.run_config
    return configuration({"run": run}).digest
