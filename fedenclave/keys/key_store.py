"""What an HSM or a cloud's key service is asked for: as little as its maker's client can do.

A store knows nothing of audit, names or what an expiry means: `StoredKeys` sees to those for all.

Rules:
  * A key never leaves its store; the data key goes there to be wrapped, and comes back unwrapped.
  * Versions of a key are 1, 2, 3 ... without a gap when they are made. One that is missing below
    the newest was destroyed. So the newest is never destroyed, and no number is given twice.
  * Whatever goes wrong is one of errors.py, and says what the store answered: none of its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fedenclave.keys.provider import KeyVersion


class KeyStore(Protocol):
    """A place that keeps keys and uses them itself."""

    @property
    def kind(self) -> str:
        """Return the name of its kind, such as `pkcs11`."""
        ...

    @property
    def place(self) -> str:
        """Return which one it is: a token, an account, a vault."""
        ...

    @property
    def keeps_expiry(self) -> bool:
        """Return whether it remembers when a version expires."""
        ...

    def create(self, key: str, version: int, expires: int) -> int:
        """Make version `version` of a key, and return the number of what was made.

        Raises:
            KeysRefused: it cannot be made, or is there already.
        """
        ...

    def versions(self, key: str | None = None) -> Sequence[KeyVersion]:
        """Return the versions that it tells of, of one key or all, by name and version."""
        ...

    def encrypt(self, data_key: bytes, key: str, context: str) -> tuple[int, bytes]:
        """Wrap under the newest version; return which that was, and what came out.

        Raises:
            NoSuchKey: there is none.
        """
        ...

    def decrypt(self, wrapped: bytes, key: str, version: int, context: str) -> bytes:
        """Unwrap.

        Raises:
            NoSuchKey: there is no such version.
            KeyDestroyed: it is gone, or soon will be.
            CannotUnwrap: it did not wrap this for this context.
        """
        ...

    def destroy(self, key: str, version: int) -> int:
        """Destroy a version that is not the newest; return from when on it is gone, Unix seconds.

        Raises:
            NoSuchKey: there is no such version.
            KeysRefused: it cannot be destroyed here, or not now.
        """
        ...
