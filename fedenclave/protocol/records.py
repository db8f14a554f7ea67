"""Frozen dataclasses that encode to deterministic CBOR maps and decode strictly.

A record's fields may be: int (unsigned), str, bytes, bool, `Digest` (32 bytes), a StrEnum, another
record, or a tuple of one of these. A map with a missing, unknown or wrongly typed field does not
decode. `from_bytes(r.to_bytes()) == r` for every record.

SPEC.md, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from fedenclave.protocol.codec import decode, encode
from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import MalformedMessage


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


_PLAIN = frozenset({int, str, bytes, bool})
"""Field types that decoding gives as they are."""


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_plain()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return value


def _all_digests(value: list[bytes]) -> bool:
    return set(map(len, value)) <= {DIGEST_SIZE}


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the field type `hint`, or refuse it."""
    if hint is Digest:
        if isinstance(value, bytes) and len(value) == DIGEST_SIZE:
            return value
        raise MalformedMessage(f"{where} is not a digest of {DIGEST_SIZE} bytes")
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise MalformedMessage(f"{where} is {type(value).__name__}, want an array")
        item = get_args(hint)[0]
        # Lists of thousands of names and digests are common: no loop where nothing is wrong.
        if item in _PLAIN and set(map(type, value)) <= {item}:
            return tuple(value)
        if item is Digest and set(map(type, value)) <= {bytes} and _all_digests(value):
            return tuple(value)
        return tuple(_typed(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if issubclass(hint, Record):
        return hint.from_plain(value, where)
    if issubclass(hint, StrEnum):
        if isinstance(value, str) and value in tuple(hint):
            return hint(value)
        raise MalformedMessage(f"{where} is not one of the known values of {hint.__name__}")
    # `type() is` because bool is an int for isinstance, and not for the protocol.
    if type(value) is hint:
        return value
    raise MalformedMessage(f"{where} is {type(value).__name__}, want {hint.__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A message or a part of one."""

    MAX_SIZE: ClassVar[int] = 1 << 20

    def to_plain(self) -> dict[str, Any]:
        """Return the record as a map of plain values."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_plain(cls, value: Any, where: str = "") -> Self:
        """Return the record that the map `value` describes.

        Raises:
            MalformedMessage: a field is missing, unknown, of the wrong type, or out of range.
        """
        where = where or cls.__name__
        if not isinstance(value, dict):
            raise MalformedMessage(f"{where} is {type(value).__name__}, want a map")
        hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
        if value.keys() != hints.keys():
            odd = sorted(value.keys() ^ hints.keys())
            raise MalformedMessage(f"{where} has missing or unknown fields: {', '.join(odd)[:200]}")
        typed = {
            name: v if type(v := value[name]) is hint else _typed(hint, v, f"{where}.{name}")
            for name, hint in hints.items()
        }
        return cls(**typed)

    def to_bytes(self) -> bytes:
        """Return the one encoding of this record."""
        return encode(self.to_plain())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the record that `data` encodes.

        Raises:
            MalformedMessage: `data` is not the encoding of one such record.
        """
        return cls.from_plain(decode(data, max_size=cls.MAX_SIZE))
