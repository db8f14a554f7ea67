"""Evidence as it travels, and what every evidence format binds.

SPEC.md, section 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PUBLIC_KEY_SIZE, Statement

NONCE_SIZE = 32
REPORT_DATA_SIZE = 64
INSECURE = "insecure"
HARDWARE_FORMATS = (
    "azure-maa",
    "azure-vm",
    "cca",
    "confidential-space",
    "nitro",
    "psa",
    "sev-snp",
    "sgx",
    "tdx",
    "tpm",
)
"""What a policy can name besides `insecure`."""

INSECURE_WARNING = "insecure: no hardware vouches for this measurement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(Record):
    """A format's name, the vendor's bytes, and the key that they are said to bind."""

    format: str
    document: bytes
    signing_key: bytes

    def __post_init__(self) -> None:
        """Refuse a key of the wrong length."""
        if len(self.signing_key) != PUBLIC_KEY_SIZE:
            raise MalformedMessage("evidence names a signing key of the wrong length")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePart(Record):
    """One of the vendor's structures: a quote, a certificate chain, an event log."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceParts(Record):
    """The document of every format but `insecure`: parts by name, in the names' order."""

    parts: tuple[EvidencePart, ...]

    def __post_init__(self) -> None:
        """Refuse names that are not sorted, or twice there."""
        names = [part.name for part in self.parts]
        if names != sorted(set(names)):
            raise MalformedMessage("evidence has parts that are not sorted by name, or twice there")

    @classmethod
    def of(cls, parts: Mapping[str, bytes]) -> Self:
        """Return the record of `parts`."""
        return cls(parts=tuple(EvidencePart(name=name, data=parts[name]) for name in sorted(parts)))

    def by_name(self) -> dict[str, bytes]:
        """Return the parts by name."""
        return {part.name: part.data for part in self.parts}


@dataclass(frozen=True, slots=True, kw_only=True)
class InsecureDocument(Statement):
    """Development evidence: the enclave process says of itself what it measured.

    Signed by the very key that it presents. It proves integrity in transit and nothing else.
    """

    TYPE: ClassVar[str] = "insecure-evidence"

    warning: str
    report_data: bytes
    measurement: Digest
    protections: tuple[str, ...]


def report_data(nonce: bytes, signing_key: bytes, manifest: bytes) -> bytes:
    """Return the 64 bytes that evidence binds into the hardware's report data.

    Args:
        nonce: 32 bytes: the Merkle root over the clients' nonces.
        signing_key: the enclave's raw Ed25519 public key.
        manifest: the manifest's digest, 32 bytes.
    """
    bound = b"fedenclave/att/v1\x00" + nonce + hashlib.sha256(signing_key).digest() + manifest
    return hashlib.sha512(bound).digest()


def collected_report_data(challenge: bytes) -> bytes:
    """Return the 64 bytes that evidence binds which is made without a federation.

    The approved code must never have report data of a caller's choosing attested: the caller would
    choose those of `report_data` for a key of its own. What this returns is never one of those.

    Args:
        challenge: whatever the caller wants to see bound.
    """
    return hashlib.sha512(b"fedenclave/collect/v1\x00" + challenge).digest()
