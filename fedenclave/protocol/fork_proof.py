"""The proof that an enclave's key has signed for two logs: two statements that no one log can hold.

Anybody can carry it, and anybody who knows the key can check it (fedenclave.audit.fork).

SPEC.md, section 7.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PUBLIC_KEY_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSide(Record):
    """One of the two statements, and where needed what its checkpoint has at the proof's index.

    `leaf` is a statement digest, or empty; `path` leads from it to the checkpoint's root.
    """

    signed: bytes
    leaf: bytes
    path: tuple[Digest, ...]

    def __post_init__(self) -> None:
        """Refuse a leaf of another size, and a path from nowhere."""
        if len(self.leaf) not in (0, DIGEST_SIZE):
            raise MalformedMessage(f"leaf has {len(self.leaf)} bytes, want 0 or {DIGEST_SIZE}")
        if self.path and not self.leaf:
            raise MalformedMessage("path leads from no leaf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkProof(Record):
    """Two statements by one key, of two logs. `index` is 0 where the sides have no leaves."""

    MAX_SIZE: ClassVar[int] = 9 << 20

    version: int
    key: bytes
    index: int
    sides: tuple[ForkSide, ...]

    def __post_init__(self) -> None:
        """Refuse what has not two sides, or no key."""
        if len(self.sides) != 2:
            raise MalformedMessage(f"fork proof has {len(self.sides)} sides, want 2")
        if len(self.key) != PUBLIC_KEY_SIZE:
            raise MalformedMessage(f"key has {len(self.key)} bytes, want {PUBLIC_KEY_SIZE}")
