"""A key provider: it wraps data keys under keys that never leave it.

A local keyring is one (keyring.py). An HSM or a cloud's key service can be others: this is all
that sealed datasets ask of them.

Rules:
  * A key has a name and versions from 1. `wrap` takes the newest; `unwrap` the one that is named.
  * `rotate` adds a version and leaves the older ones readable.
  * `destroy` is for good: what only that version can open is erased by it.
  * Every call that uses or changes a key leaves an audit event (audit.py) before it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from fedenclave.protocol.records import Record

DATA_KEY_SIZE = 32
MAX_WRAPPED = 8 << 10
"""Bytes of a wrapped key: key services add a few hundred to the 32, RSA-4096 wraps into 512."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey(Record):
    """A data key that only its provider can unwrap.

    Attributes:
        provider: which kind of provider wrapped it, such as `keyring`.
        key: the name of the key that wraps it.
        version: that key's version, from 1.
        wrapped: the provider's bytes.
    """

    MAX_SIZE: ClassVar[int] = MAX_WRAPPED + 1024

    provider: str
    key: str
    version: int
    wrapped: bytes


class KeyState(StrEnum):
    """What a version is for."""

    NEWEST = "newest"
    READABLE = "readable"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVersion:
    """One version of a key, without its bytes.

    Attributes:
        key: the key's name.
        version: from 1.
        created: Unix seconds.
        destroyed: Unix seconds, 0 while it is there.
        state: whether it wraps, unwraps, or is gone.
    """

    key: str
    version: int
    created: int
    destroyed: int
    state: KeyState


class KeyProvider(Protocol):
    """Where the keys are kept that wrap data keys."""

    @property
    def kind(self) -> str:
        """Return what stands as `WrappedKey.provider`."""
        ...

    def create(self, key: str) -> KeyVersion:
        """Make a key with version 1.

        Raises:
            KeysRefused: it exists already, or its name cannot be used.
        """
        ...

    def rotate(self, key: str) -> KeyVersion:
        """Add a version, which wraps from now on.

        Raises:
            NoSuchKey: there is no such key.
        """
        ...

    def wrap(self, data_key: bytes, key: str, *, subject: str) -> WrappedKey:
        """Wrap a data key of DATA_KEY_SIZE bytes under the newest version of `key`.

        Args:
            data_key: what to wrap.
            key: the name of the key to wrap it with.
            subject: what it is for, in the audit event: never a secret.

        Raises:
            NoSuchKey: there is no such key.
            KeyDestroyed: its newest version is gone.
        """
        ...

    def unwrap(self, wrapped: WrappedKey, *, subject: str) -> bytes:
        """Return the data key.

        Raises:
            NoSuchKey: the key or its version is not here.
            KeyDestroyed: it was, and is gone.
            CannotUnwrap: the bytes are not what that version has wrapped.
        """
        ...

    def versions(self) -> Sequence[KeyVersion]:
        """Return every version of every key, by name and version."""
        ...

    def destroy(self, key: str, version: int) -> KeyVersion:
        """Destroy one version of a key, for good.

        Raises:
            NoSuchKey: there is no such version.
            KeyDestroyed: it is gone already.
        """
        ...
