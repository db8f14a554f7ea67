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
from fedenclave.attestation.tpm.activation import Credential, challenge
from fedenclave.attestation.tpm.endorsement import (
    ROOTS_FOLDER,
    parse_chain,
    verify_endorsement,
)
from fedenclave.attestation.tpm.key import attestation_problem, parse_public
from fedenclave.protocol.activation import VERSION, Activation
from fedenclave.protocol.digests import Digest, equal
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


def challenge_keys(
    keys: MachineKeys, roots: Sequence[x509.Certificate], now: int
) -> tuple[Credential, bytes]:
    """Return a challenge to the TPM of `keys`, and the secret that is its only right answer.

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
        return challenge(endorsement.key, keys.name)
    except MalformedMessage as error:
        raise ConfigurationError(f"the tpm cannot be challenged: {error.message}") from error


def confirm(
    keys: MachineKeys,
    *,
    secret: bytes,
    answer: bytes,
    member: str,
    key: Ed25519PrivateKey,
    now: int,
) -> bytes:
    """Return the member's signed word that the TPM holds the key.

    Raises:
        EvidenceRefused: the answer is wrong.
    """
    if not equal(secret, answer):
        raise EvidenceRefused(
            "the answer is not the secret of the challenge: the tpm does not hold this key",
            hint="was it an older challenge? make a new one; otherwise do not pin this machine",
        )
    activation = Activation(
        version=VERSION,
        member=member,
        attestation_key=keys.name,
        ek_certificate=keys.ek_certificate,
        time=now,
    )
    return sign(activation, key)
