"""A member's word that a TPM holds an attestation key: it made a challenge, and the TPM answered.

Only the TPM whose endorsement key a certificate names can answer a challenge that names an
attestation key, and it does so only while it holds that key. No certificate says that, so whoever
made the challenge must. This is a fact about hardware: it names no federation, and does not expire
(a restricted key that is fixed to its TPM never leaves it).

SPEC.md, section 9.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signing import Statement
from fedenclave.protocol.statements import checked_name

VERSION = 1
NAME_SIZES = (34, 50, 66)
"""A TPM's Name of an object: a 16-bit algorithm, and a digest by SHA-256, SHA-384 or SHA-512."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation(Statement):
    """`member` challenged the TPM of an endorsement key, and it holds an attestation key.

    Attributes:
        version: 1.
        member: who made the challenge; it signs this with its key.
        attestation_key: the key's Name, which covers its attributes.
        ek_certificate: SHA-256 of the DER of the endorsement key's certificate.
        time: Unix seconds of the answer: a note for people.
    """

    TYPE: ClassVar[str] = "tpm-activation"

    version: int
    member: str
    attestation_key: bytes
    ek_certificate: Digest
    time: int

    def __post_init__(self) -> None:
        """Refuse versions, names of members and Names of keys that cannot be."""
        if self.version != VERSION:
            raise MalformedMessage(f"activation version is {self.version}, want {VERSION}")
        checked_name(self.member, "member")
        if len(self.attestation_key) not in NAME_SIZES:
            raise MalformedMessage(
                f"activation names a key by {len(self.attestation_key)} bytes, want 34, 50 or 66"
            )
