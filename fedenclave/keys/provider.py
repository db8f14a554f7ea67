"""A key provider: it wraps data keys under keys that never leave it.

A local keyring is one (keyring.py). An HSM and the clouds' key services are others, all of them a
`StoredKeys` (stored_keys.py) over what their makers offer. This is all that sealed datasets ask.

Rules:
  * A key has a name and versions from 1. `wrap` takes the newest; `unwrap` the one that is named.
  * `rotate` adds a version and leaves the older ones readable.
  * A version may have an expiry. From then on it wraps nothing, and unwraps as before.
  * `destroy` is for good: what only that version can open is erased by it. Some services wait some
    days first, in which whoever administers them can still call it back: state `scheduled`.
  * What is wrapped is bound to a context, the dataset's id: under another it does not unwrap.
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
    EXPIRED = "expired"
    READABLE = "readable"
    SCHEDULED = "scheduled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVersion:
    """One version of a key, without its bytes.

    Attributes:
        key: the key's name.
        version: from 1.
        created: Unix seconds; 0 where what keeps it does not tell.
        expires: Unix seconds from which on it wraps no more; 0 for never.
        destroyed: Unix seconds at which it was or will be gone, 0 while nothing of the kind is due.
        state: whether it wraps, unwraps, or is gone.
    """

    key: str
    version: int
    created: int
    destroyed: int
    state: KeyState
    expires: int = 0


class KeyProvider(Protocol):
    """Where the keys are kept that wrap data keys."""

    @property
    def kind(self) -> str:
        """Return what stands as `WrappedKey.provider`."""
        ...

    @property
    def place(self) -> str:
        """Return where the keys are, for messages: a file, a token, an account."""
        ...

    def create(self, key: str, *, expires: int = 0) -> KeyVersion:
        """Make a key with version 1.

        Args:
            key: its name.
            expires: Unix seconds from which on it wraps no more; 0 for never.

        Raises:
            KeysRefused: it exists already, its name cannot be used, or the expiry is over or
                cannot be kept here.
        """
        ...

    def rotate(self, key: str, *, expires: int = 0) -> KeyVersion:
        """Add a version, which wraps from now on.

        Raises:
            NoSuchKey: there is no such key.
            KeysRefused: see `create`.
        """
        ...

    def wrap(self, data_key: bytes, key: str, *, subject: str, context: str) -> WrappedKey:
        """Wrap a data key of DATA_KEY_SIZE bytes under the newest version of `key`.

        Args:
            data_key: what to wrap.
            key: the name of the key to wrap it with.
            subject: what it is for, in the audit event: never a secret.
            context: what it is bound to: a dataset's id. Never a secret: key services log it.

        Raises:
            NoSuchKey: there is no such key.
            KeyDestroyed: its newest version is gone.
            KeyExpired: its newest version has expired.
        """
        ...

    def unwrap(self, wrapped: WrappedKey, *, subject: str, context: str) -> bytes:
        """Return the data key.

        Raises:
            NoSuchKey: the key or its version is not here.
            KeyDestroyed: it was, and is gone.
            CannotUnwrap: the bytes are not what that version has wrapped for this context.
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
