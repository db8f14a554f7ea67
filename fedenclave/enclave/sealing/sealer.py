"""What the enclave asks of a sealer: wrap a key for itself, and anchor which state is the newest.

Rules:
  * What `wrap` returns goes to the host; `unwrap` gives the key to the same code on the same
    machine, and to nobody else. A sealer that cannot promise it has `insecure` in its name.
  * The anchor, where there is one, is a register whose value never comes back: extending it makes
    SHA-256 of the old value and what is extended of it, whoever asks.
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

    @property
    def keeps_open_rounds(self) -> bool:
        """Whether the keys of an open round may be sealed.

        Not where the operator can wind the state back unseen: it would close the round again and
        again, for every cohort that suffices, and solve for each update.
        """
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

    def establish_anchor(self) -> bytes:
        """Return the anchor's value, making one first where there is none yet; empty without one.

        Raises:
            RequestRefused: the machine refuses.
        """
        ...

    def anchor(self) -> bytes:
        """Return the anchor's value, 32 bytes; empty where there is none.

        Raises:
            RequestRefused: the machine refuses.
        """
        ...

    def extend(self, mark: bytes) -> bytes:
        """Extend the anchor with 32 bytes, and return its value.

        Raises:
            RequestRefused: the machine refuses, or has none.
        """
        ...


class SealingFailed(RequestRefused):
    """A key cannot be wrapped or unwrapped. The host is told the refusal; `why` is for the log."""

    def __init__(self, why: str, *, hint: str = "", refusal: Refusal = Refusal.STATE) -> None:
        """Keep `why`: an interface's answer, and nothing of what was sealed."""
        super().__init__(refusal, hint=hint)
        self.why = why


class WithoutAnchor:
    """A machine without such a register: rollback is for the clients to see."""

    def establish_anchor(self) -> bytes:
        """See `Sealer`."""
        return b""

    def anchor(self) -> bytes:
        """See `Sealer`."""
        return b""

    def extend(self, mark: bytes) -> bytes:
        """See `Sealer`."""
        raise SealingFailed(f"there is no register to extend by {len(mark)} bytes")
