"""Take claims out of a claims set by label, strictly: present, of the right type and length.

What is left at the end are claims that this version does not know. EAT (RFC 9711, section 4.1)
wants receivers to ignore them; here they are a check that fails unless the policy's exception
`unknown-claims` says otherwise, because a claim that nobody looked at may be the one that matters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fedenclave.attestation.cbor import decode
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

UNKNOWN_CLAIMS = "unknown-claims"
HASH_SIZES = (32, 48, 64)
IMPLEMENTATION_ID_SIZE = 32
UEID_SIZE, UEID_RANDOM = 33, 0x01
MAX_TEXT = 1024


class ClaimSet:
    """A map from labels to claims; `take_*` removes a claim."""

    def __init__(self, claims: dict[Any, Any], what: str) -> None:
        """Wrap a copy of `claims`; `what` names the set in messages."""
        self._claims, self._what = dict(claims), what

    @property
    def unknown(self) -> tuple[str, ...]:
        """Labels of the claims that nobody took."""
        return tuple(sorted(map(str, self._claims)))

    def has(self, label: int) -> bool:
        """Return whether there is a claim with this label."""
        return label in self._claims

    def take_bytes(self, label: int, name: str, sizes: Sequence[int]) -> bytes:
        """Return a byte string of one of `sizes` bytes."""
        value = self._take(label, name)
        if type(value) is not bytes or len(value) not in sizes:
            wanted = f"{sizes.start} to {sizes.stop - 1}" if isinstance(sizes, range) else sizes
            raise self._wrong(name, value, f"a byte string of {wanted} bytes")
        return value

    def take_ueid(self, label: int, name: str) -> bytes:
        """Return a UEID of type RAND: 0x01, then 32 bytes."""
        value = self.take_bytes(label, name, (UEID_SIZE,))
        if value[0] != UEID_RANDOM:
            raise self._wrong(name, value, "a ueid of type 0x01")
        return value

    def take_text(self, label: int, name: str, pattern: str = r"(?s).+") -> str:
        """Return a text that `pattern` matches as a whole."""
        value = self._take(label, name)
        if type(value) is not str or len(value) > MAX_TEXT or not re.fullmatch(pattern, value):
            raise self._wrong(name, value, f"a text {pattern}")
        return value

    def take_int(self, label: int, name: str, low: int, high: int) -> int:
        """Return an integer from `low` to `high`."""
        value = self._take(label, name)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(name, value, f"an integer from {low} to {high}")
        return value

    def take_list(self, label: int, name: str, low: int, high: int) -> list[Any]:
        """Return an array of `low` to `high` items."""
        value = self._take(label, name)
        if type(value) is not list or not low <= len(value) <= high:
            raise self._wrong(name, value, f"an array of {low} to {high}")
        return value

    def _take(self, label: int, name: str) -> Any:
        if label not in self._claims:
            raise MalformedMessage(f"{self._what} has no {name} (claim {label})")
        return self._claims.pop(label)

    def _wrong(self, name: str, value: object, wanted: str) -> MalformedMessage:
        shown = f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)[:60]
        return MalformedMessage(f"{self._what} has {name} {shown}, want {wanted}")


def parse_claims(payload: bytes, what: str, *, max_size: int) -> ClaimSet:
    """Return the claims that a token's payload encodes.

    Raises:
        MalformedMessage: it is no map from integers and texts.
    """
    value = decode(payload, what, max_size=max_size)
    if type(value) is not dict:
        raise MalformedMessage(f"{what} is no map of claims")
    return ClaimSet(value, what)


def check_unknown(checklist: Checklist, unknown: Sequence[str], *, name: str) -> None:
    """Check that no claim is unknown."""
    checklist.want(
        name,
        holds=not unknown,
        found=f"unknown: {', '.join(unknown)}" if unknown else "all known",
        wanted="claims that this version knows and judges",
        trust=Trust.CONFIGURATION,
        exception=UNKNOWN_CLAIMS,
        hint="a newer version may judge it; the exception unknown-claims lets it pass unjudged",
    )
