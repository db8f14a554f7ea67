"""How FedEnclave's bytes ride in Flower's messages.

Small records are bytes in one ConfigRecord named `fedenclave`. Bulk (a model file, a sealed
update) is one uint8 Array: bytes in a ConfigRecord are about nine times slower, and one array of
25 million parameters is about three times faster than 267 of them.

SPEC.md, section 15.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedenclave.protocol.errors import MalformedMessage

RECORD = "fedenclave"
BULK = "fedenclave.bulk"
_ARRAY = "fedenclave.v1"


class Kind(StrEnum):
    """What a message is for."""

    HELLO = "hello"
    TRAIN = "train"
    EVALUATE = "evaluate"
    DELIVER = "deliver"


def bulk_record(data: bytes) -> ArrayRecord:
    """Return `data` as a record of one flat array."""
    array = Array(dtype="uint8", shape=(len(data),), stype=_ARRAY, data=data)
    return ArrayRecord({_ARRAY: array})


def read_bulk(content: RecordDict, key: str) -> bytes:
    """Return the bytes of the flat array under `key`.

    Raises:
        MalformedMessage: there is none.
    """
    record = content.get(key)
    if not isinstance(record, ArrayRecord) or _ARRAY not in record:
        raise MalformedMessage(f"message has no flat array under {key}")
    return record[_ARRAY].data


def bytes_of(record: ConfigRecord, key: str) -> bytes:
    """Return the bytes under `key`, or none where it is absent.

    Raises:
        MalformedMessage: it holds something else.
    """
    value = record.get(key, b"")
    if not isinstance(value, bytes):
        raise MalformedMessage(f"message field {key} is {type(value).__name__}, want bytes")
    return value


def bytes_list(record: ConfigRecord, key: str) -> Sequence[bytes]:
    """Return the list of bytes under `key`, empty where it is absent.

    Raises:
        MalformedMessage: it holds something else.
    """
    value = record.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise MalformedMessage(f"message field {key} is not a list of bytes")
    return [item for item in value if isinstance(item, bytes)]


def text_of(record: ConfigRecord, key: str) -> str:
    """Return the text under `key`.

    Raises:
        MalformedMessage: it is absent or something else.
    """
    value = record.get(key)
    if not isinstance(value, str):
        raise MalformedMessage(f"message field {key} is {type(value).__name__}, want text")
    return value
