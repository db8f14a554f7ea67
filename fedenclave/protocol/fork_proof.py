"""The proof that an enclave's key has signed for two logs: two statements that no one log can hold.

Anybody can carry it, and anybody who knows the key can check it (fedenclave.audit.fork).

SPEC.md, section 7.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PUBLIC_KEY_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkProof(Record):
    """Two signed statements by one key. Nothing in it is checked yet."""

    MAX_SIZE: ClassVar[int] = 9 << 20

    version: int
    key: bytes
    first: bytes
    second: bytes

    def __post_init__(self) -> None:
        """Refuse what is no key."""
        if len(self.key) != PUBLIC_KEY_SIZE:
            raise MalformedMessage(f"key has {len(self.key)} bytes, want {PUBLIC_KEY_SIZE}")
