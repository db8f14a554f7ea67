"""What the enclave asks of a sealer: wrap a key for itself, and count.

Rules:
  * What `wrap` returns goes to the host; `unwrap` gives the key to the same code on the same
    machine, and to nobody else. A sealer that cannot promise it has `insecure` in its name.
  * The counter, where there is one, only grows, whoever asks.
  * Whatever the machine answers, a sealer returns what it should or raises `RequestRefused`.

SPEC.md, section 11.5.
"""

from __future__ import annotations

from typing import Protocol

from fedenclave.protocol.errors import Refusal, RequestRefused

KEY_SIZE = 32


class Sealer(Protocol):
    """A way to keep a key outside the enclave."""

    @property
    def name(self) -> str:
        """Which it is, as it stands in the clear at the head of what is sealed."""
        ...

    def wrap(self, key: bytes) -> bytes:
        """Return `key` (32 bytes) as only `unwrap` can open it.

        Raises:
            RequestRefused: the machine refuses.
        """
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key that `wrap` was given.

        Raises:
            RequestRefused: other code, or another machine, has wrapped it; or nobody has.
        """
        ...

    def counter(self) -> int:
        """Return the hardware counter's value; 0 where there is none.

        Raises:
            RequestRefused: the machine refuses.
        """
        ...

    def count(self) -> int:
        """Let the counter grow by 1 and return its value; 0 where there is none.

        Raises:
            RequestRefused: the machine refuses.
        """
        ...


class SealingFailed(RequestRefused):
    """A key cannot be wrapped or unwrapped. The host is told the refusal; `why` is for the log."""

    def __init__(self, why: str, *, hint: str = "") -> None:
        """Keep `why`: an interface's answer, and nothing of what was sealed."""
        super().__init__(Refusal.STATE, hint=hint)
        self.why = why


class WithoutCounter:
    """A machine without a counter that only grows: rollback is for the clients to see."""

    def counter(self) -> int:
        """See `Sealer`."""
        return 0

    def count(self) -> int:
        """See `Sealer`."""
        return 0
