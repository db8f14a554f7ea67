"""A member's part in enrolling a machine's TPM: challenge it, and sign what the answer shows.

1. The operator sends what the machine says of its keys (`read_keys`).
2. The member verifies certificate chain and attributes, and makes a challenge (`challenge_keys`).
3. The machine answers; only the TPM of that certificate, holding that key, can.
4. The member compares, and signs an `Activation` (`confirm`), or lists the key in `aks`.

Source: activation.py and endorsement.py beside this file, which do the work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import fingerprint
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.attestation.tpm.activation import SECRET_SIZE, Credential, challenge
from fedenclave.attestation.tpm.endorsement import (
    ROOTS_FOLDER,
    parse_chain,
    verify_endorsement,
)
from fedenclave.attestation.tpm.key import attestation_problem, parse_public
from fedenclave.protocol.activation import VERSION, Activation
from fedenclave.protocol.digests import DIGEST_SIZE, Digest, equal
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.signing import sign

_FIELDS = {"attestation_key_name", "attestation_key", "ek_certificates"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineKeys:
    """What a machine says of its TPM's keys. Nothing of it is verified.

    Attributes:
        name: the attestation key's Name, as its public area gives it.
        chain: certificates, the endorsement key's first.
    """

    name: bytes
    chain: tuple[x509.Certificate, ...]

    @property
    def ek_certificate(self) -> Digest:
        """SHA-256 of the DER of the endorsement key's certificate."""
        return Digest(bytes.fromhex(fingerprint(self.chain[0])))


def read_keys(data: bytes) -> MachineKeys:
    """Parse what `fedenclave attest tpm keys` writes on the machine.

    Raises:
        ConfigurationError: it is something else, has no certificate, or the key is no
            attestation key.
    """
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or found.keys() != _FIELDS:
            raise MalformedMessage(f"it has not exactly the fields {', '.join(sorted(_FIELDS))}")
        if not all(isinstance(value, str) for value in found.values()):
            raise MalformedMessage("its fields are not all texts")
        key = parse_public(bytes.fromhex(found["attestation_key"]))
        if found["attestation_key_name"] != key.name.hex():
            raise MalformedMessage("its name is not that of its public area")
        problem = attestation_problem(key)
        if problem:
            raise MalformedMessage(f"its key is no attestation key: it {problem}")
        if not found["ek_certificates"]:
            raise MalformedMessage("it has no certificate of the endorsement key")
        chain = parse_chain(found["ek_certificates"].encode())
    except (MalformedMessage, ValueError, RecursionError) as error:
        said = error.message if isinstance(error, MalformedMessage) else str(error)[:120]
        raise ConfigurationError(
            f"keys of the machine cannot be used: {said}",
            hint="the operator makes the file there: fedenclave attest tpm keys",
        ) from error
    return MachineKeys(name=key.name, chain=tuple(chain))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChallenge:
    """What a member keeps of a challenge until the answer comes: secret.

    Attributes:
        secret: the only right answer, 32 bytes.
        name: of the attestation key that was challenged.
        ek_certificate: of the endorsement key, whose chain was verified.
    """

    secret: bytes
    name: bytes
    ek_certificate: Digest

    def to_json(self) -> bytes:
        """Return the member's file."""
        fields = {
            "secret": self.secret.hex(),
            "attestation_key_name": self.name.hex(),
            "ek_certificate": self.ek_certificate.hex(),
        }
        return (json.dumps(fields, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> OpenChallenge:
        """Parse the member's file.

        Raises:
            ConfigurationError: it is something else.
        """
        fields = _hex_fields(data, {"secret", "attestation_key_name", "ek_certificate"}, "secret")
        secret, certificate = fields["secret"], fields["ek_certificate"]
        if len(secret) != SECRET_SIZE or len(certificate) != DIGEST_SIZE:
            raise ConfigurationError("secret is not what `attest tpm challenge` wrote")
        return cls(
            secret=secret,
            name=fields["attestation_key_name"],
            ek_certificate=Digest(certificate),
        )


def read_answer(data: bytes) -> bytes:
    """Return what `attest tpm answer` found on the machine.

    Raises:
        ConfigurationError: it is something else.
    """
    return _hex_fields(data, {"secret"}, "answer")["secret"]


def _hex_fields(data: bytes, names: set[str], what: str) -> dict[str, bytes]:
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or found.keys() != names:
            raise ValueError
        return {name: bytes.fromhex(found[name]) for name in names}
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"{what} cannot be read", hint="it is what `fedenclave attest tpm` wrote"
        ) from error


def challenge_keys(
    keys: MachineKeys, roots: Sequence[x509.Certificate], now: int
) -> tuple[Credential, OpenChallenge]:
    """Return a challenge to the TPM of `keys`, and what the member must keep of it.

    Args:
        keys: as the machine says.
        roots: the TPM vendor's root certificates that the member trusts.
        now: Unix seconds at which the chain must be valid.

    Raises:
        EvidenceRefused: the chain does not lead to one of `roots`, or is no TPM's.
        ConfigurationError: the endorsement key is of a kind that cannot be challenged.
    """
    files: Mapping[str, bytes] = {
        f"{ROOTS_FOLDER}{number}.pem": root.public_bytes(Encoding.PEM)
        for number, root in enumerate(roots)
    }
    endorsement = verify_endorsement(
        Checklist(),
        keys.chain,
        roots=[bytes.fromhex(fingerprint(root)) for root in roots],
        collateral=from_mapping(files, now),
        now=now,
    )
    try:
        credential, secret = challenge(endorsement.key, keys.name)
    except MalformedMessage as error:
        raise ConfigurationError(f"the tpm cannot be challenged: {error.message}") from error
    return credential, OpenChallenge(
        secret=secret, name=keys.name, ek_certificate=keys.ek_certificate
    )


def confirm(
    challenged: OpenChallenge, answer: bytes, *, member: str, key: Ed25519PrivateKey, now: int
) -> bytes:
    """Return the member's signed word that the TPM holds the key that was challenged.

    Only what the member kept counts: whatever the operator sends along with the answer might be
    about another key.

    Raises:
        EvidenceRefused: the answer is wrong.
    """
    if not equal(challenged.secret, answer):
        raise EvidenceRefused(
            "the answer is not the secret of the challenge: the tpm does not hold this key",
            hint="was it an older challenge? make a new one; otherwise do not pin this machine",
        )
    activation = Activation(
        version=VERSION,
        member=member,
        attestation_key=challenged.name,
        ek_certificate=challenged.ek_certificate,
        time=now,
    )
    return sign(activation, key)
