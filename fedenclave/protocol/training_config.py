"""One digest for what a round's clients are told about how to train.

The host writes that configuration. It may say what it likes, but the same to everybody: the enclave
signs the digest in the announcement, and a client that was told something else refuses. Told apart,
one client would train while the others stand still, and the mean would be its update (T8).

SPEC.md, section 13.7.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

Scalar: TypeAlias = bool | int | float | str | bytes
Table: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigScalar(Record):
    """One value: the name of its type and its bytes."""

    type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigEntry(Record):
    """A key with one value, or with a list of any length."""

    key: str
    many: bool
    values: tuple[ConfigScalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigTable(Record):
    """A named table, sorted by key."""

    name: str
    entries: tuple[ConfigEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration(Record):
    """Tables, sorted by name."""

    tables: tuple[ConfigTable, ...]

    @property
    def digest(self) -> Digest:
        """The digest that clients compare."""
        return domain_digest("configuration", self.to_bytes())


def configuration(tables: Mapping[str, Table]) -> Configuration:
    """Return `tables` in the one order and spelling that is hashed.

    Raises:
        MalformedMessage: a value is of no type that a configuration can hold, a name or key is no
            UTF-8, or all together is too long.
    """
    made = Configuration(
        tables=tuple(
            ConfigTable(name=name, entries=tuple(_entry(key, table[key]) for key in sorted(table)))
            for name, table in sorted(tables.items())
        )
    )
    try:
        size = len(made.to_bytes())
    except UnicodeEncodeError:
        raise MalformedMessage("a configuration's name or key is not UTF-8") from None
    if size > Configuration.MAX_SIZE:
        raise MalformedMessage(
            f"configuration has {size} bytes, want at most {Configuration.MAX_SIZE}"
        )
    return made


def training_config(*, message: Digest, run: Digest) -> Digest:
    """Return the digest that a round announces.

    Args:
        message: digest of what the round's messages tell the app.
        run: digest of the run configuration, which reaches the app beside its messages.
    """
    return domain_digest("training-config", message, run)


NOTHING = configuration({}).digest
NO_TRAINING_CONFIG = training_config(message=NOTHING, run=NOTHING)
"""Of a federation that tells its clients nothing about how to train."""


def _entry(key: str, value: Scalar | Sequence[Scalar]) -> ConfigEntry:
    if isinstance(value, list | tuple):
        return ConfigEntry(key=key, many=True, values=tuple(_scalar(key, v) for v in value))
    return ConfigEntry(key=key, many=False, values=(_scalar(key, value),))


def _scalar(key: str, value: object) -> ConfigScalar:
    match value:
        case bool():  # before int, of which it is one
            return ConfigScalar(type="bool", data=bytes([value]))
        case int():
            return ConfigScalar(type="int", data=f"{value:x}".encode())
        case float():
            return ConfigScalar(type="float", data=struct.pack(">d", value))
        case str():
            return ConfigScalar(type="text", data=value.encode("utf-8", "surrogatepass"))
        case bytes():
            return ConfigScalar(type="bytes", data=value)
    raise MalformedMessage(
        f"configuration value {key[:80]!r} is {type(value).__name__}, "
        "want bool, int, float, text or bytes"
    )
