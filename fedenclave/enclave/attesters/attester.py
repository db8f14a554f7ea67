"""What the enclave asks of an attester, and the one error where it cannot be had.

Rules:
  * Evidence binds exactly the report data that was asked for, and names the enclave's signing key.
  * Whatever an interface answers, an attester returns evidence or raises `AttestationUnavailable`.
  * What an interface answers is not appraised here: a client does that, and trusts this less.

SPEC.md, section 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.evidence import Evidence, EvidenceParts
from fedenclave.protocol.signing import public_key

MAX_PART = 1 << 19
"""Bytes of one part at most; the largest part known, an event log, has 64 KiB."""


class Attester(Protocol):
    """Whatever can vouch for this process."""

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """Return evidence that binds `report_data` (64 bytes); `key` is the enclave's signing key.

        Raises:
            AttestationUnavailable: the machine gives none.
        """
        ...


class AttestationUnavailable(RequestRefused):
    """The machine gives no evidence. The host is told the refusal; `why` is for the log."""

    def __init__(self, why: str, *, hint: str = "") -> None:
        """Keep `why`: a path, an error's name or a length, and nothing of what was asked."""
        super().__init__(Refusal.ATTESTATION, hint=hint)
        self.why = why


@contextmanager
def unavailable(doing: str, *, hint: str = "") -> Iterator[None]:
    """Turn what the operating system refuses into the one error."""
    try:
        yield
    except OSError as error:
        # Some of Python's own have a text and no number: a timeout, a path that is too long.
        reason = error.strerror or str(error)
        raise AttestationUnavailable(f"cannot {doing}: {reason}", hint=hint) from error


def hardware_evidence(name: str, parts: Mapping[str, bytes], key: Ed25519PrivateKey) -> Evidence:
    """Return the evidence of the format `name` with these parts.

    Raises:
        AttestationUnavailable: together they are longer than what a client decodes.
    """
    document = EvidenceParts.of(parts).to_bytes()
    evidence = Evidence(format=name, document=document, signing_key=public_key(key))
    if (size := len(evidence.to_bytes())) > Evidence.MAX_SIZE:
        raise AttestationUnavailable(f"evidence has {size} bytes, want at most {Evidence.MAX_SIZE}")
    return evidence
