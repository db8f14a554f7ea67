"""What the app returned, read for the sealing: model, counts, metrics, the digest of its data.

Rules:
  * What cannot be used is refused, and why is said on this node alone (T13).
  * Of what is not read here nothing leaves.

SPEC.md, section 15.1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flwr.app import ConfigRecord, Message

from fedenclave.client.reported import UpdateUnusable
from fedenclave.client.session import AcceptedRound
from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.sealed_update import MAX_EXAMPLES
from fedenclave.protocol.statements import NO_DATA
from fedenclave.protocol.tensors import pack

LINEAGE = "fedenclave.lineage"
"""The ConfigRecord in which an app says which data it has trained on."""


class ResultRefused(UpdateUnusable):
    """What the app returned cannot be sealed. Why is said on this node only."""


def trained_payload(reply: Message, accepted: AcceptedRound) -> bytearray:
    """Return the flat payload of the trained model.

    Raises:
        ResultRefused: it is not one model of the base model's schema.
    """
    records = list(reply.content.array_records.values())
    if len(records) != 1:
        raise ResultRefused(
            f"the client app returned {len(records)} array records, want 1; nothing was sent"
        )
    tensors = {name: array.numpy() for name, array in records[0].items()}
    try:
        return pack(accepted.base.schema, tensors)
    except ValueError as error:
        # Names, types and shapes are the app's words: they go where its other words go.
        print(f"the app's model: {error}", file=sys.stderr)
        raise ResultRefused(
            "the client app's model does not fit the agreed one; nothing was sent",
            hint="return the same tensors, with the same types, that the message brought",
        ) from error


def num_examples(reply: Message, key: str) -> int:
    """Return the whole number that the app reports as metric `key`.

    Raises:
        ResultRefused: there is none that can be sealed.
    """
    for metrics in reply.content.metric_records.values():
        value = metrics.get(key)
        if isinstance(value, int | float):
            if 1 <= value <= MAX_EXAMPLES and float(value).is_integer():
                return int(value)
            raise ResultRefused(
                f"the client app reports {key} as something else, want a whole number from 1; "
                "nothing was sent"
            )
    raise ResultRefused(
        f"the client app reports no metric {key}, which the manifest weighs by; nothing was sent",
        hint=f'return MetricRecord({{"{key}": len(dataset)}})',
    )


def reported(reply: Message, names: Sequence[str]) -> dict[str, float]:
    """Return those of the app's metrics that are numbers and that the manifest asks for."""
    found = {}
    for metrics in reply.content.metric_records.values():
        for name in names:
            value = metrics.get(name)
            # A whole number too large for a float is none that could be averaged.
            if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
                found[name] = float(value)
    return found


def data_digest(reply: Message) -> Digest:
    """Return the digest of the data that the app has trained on; `NO_DATA` where it says none.

    It is all of the record that leaves: 32 bytes that the app has made, for everybody to read.

    Raises:
        ResultRefused: the record is there, and holds something else.
    """
    if LINEAGE not in reply.content:
        return NO_DATA
    record = reply.content[LINEAGE]
    value = record.get("data") if isinstance(record, ConfigRecord) else None
    if not isinstance(value, bytes) or len(value) != DIGEST_SIZE or len(record) != 1:
        raise ResultRefused(
            f"the client app's record {LINEAGE} is not one entry data of {DIGEST_SIZE} bytes; "
            "nothing was sent",
            hint=f'return ConfigRecord({{"data": hashlib.sha256(...).digest()}}) as {LINEAGE}, '
            "salted where the data could be guessed, or no such record",
        )
    if value == NO_DATA:
        raise ResultRefused(
            f"the client app's record {LINEAGE} has {DIGEST_SIZE} zero bytes, which stand for no "
            "digest; nothing was sent",
            hint="return no such record where there is nothing to say",
        )
    return Digest(value)
