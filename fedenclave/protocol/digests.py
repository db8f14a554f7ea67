"""SHA-256 digests with a domain in front, and how they are written for people.

SPEC.md, section 2.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NewType

from fedenclave.protocol.errors import MalformedMessage

Digest = NewType("Digest", bytes)
"""32 bytes of SHA-256."""

DIGEST_SIZE = 32
_TEXT = re.compile(r"sha256:([0-9a-f]{64})")


def sha256(data: bytes | memoryview) -> Digest:
    """Return the plain SHA-256 of `data`."""
    return Digest(hashlib.sha256(data).digest())


def domain_digest(domain: str, *parts: bytes) -> Digest:
    """Return SHA-256 over `fedenclave/<domain>/v1`, a zero byte, and the parts.

    The parts must have fixed lengths or be self-delimiting: nothing is put between them.
    """
    state = hashlib.sha256(f"fedenclave/{domain}/v1".encode() + b"\x00")
    for part in parts:
        state.update(part)
    return Digest(state.digest())


def equal(a: bytes, b: bytes) -> bool:
    """Return whether two digests are equal, in time that does not depend on where they differ."""
    return hmac.compare_digest(a, b)


def to_text(digest: bytes) -> str:
    """Return `sha256:<hex>`."""
    return "sha256:" + digest.hex()


def from_text(text: str) -> Digest:
    """Parse `sha256:<64 lower-case hex digits>`.

    Raises:
        MalformedMessage: it is anything else.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise MalformedMessage(f"digest is {text[:80]!r}, want sha256: and 64 hex digits")
    return Digest(bytes.fromhex(match.group(1)))
