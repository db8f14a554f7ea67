"""The platforms that a policy accepts: instance ids, each with its attestation public key.

Arm keeps no registry of these keys and signs no list of them. A manufacturer hands a key over
together with the instance id, so both are in the policy that the members approve, and not in a
bundle that nobody signs.

Source: RFC 9783, sections 4.2.1 and 8 (keys are found by the instance id).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from fedenclave.attestation.arm.claims import UEID_RANDOM, UEID_SIZE
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.cose import CURVES, Sign1, verify_sign1
from fedenclave.attestation.pins import take_hex
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

IDENTIFIERS = frozenset({"measurement", "instance-id", "implementation-id", "key"})
"""What a revocation can name; `key` is SHA-256 of a SubjectPublicKeyInfo."""

Devices = Mapping[bytes, ec.EllipticCurvePublicKey]
"""Attestation public keys by instance id, 33 bytes."""


def read_devices(table: Table, key: str) -> Devices:
    """Return the platforms in the array of tables `key`, at least one."""
    devices: dict[bytes, ec.EllipticCurvePublicKey] = {}
    for entry in table.take_tables(key):
        instance_id = take_hex(entry, "instance_id", sizes=(UEID_SIZE,))
        if instance_id[0] != UEID_RANDOM or instance_id in devices:
            raise ConfigurationError(
                f"{entry.where} instance_id begins with another byte than 01, or is there twice"
            )
        devices[instance_id] = _take_key(entry)
        entry.finish()
    return devices


def _take_key(entry: Table) -> ec.EllipticCurvePublicKey:
    text = entry.take_text("public_key")
    wanted = "want a public key in pem, on P-256, P-384 or P-521"
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{entry.where} public_key cannot be read, {wanted}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ConfigurationError(f"{entry.where} public_key is of another kind, {wanted}")
    return key


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return SHA-256 of the key as SubjectPublicKeyInfo, lower-case hex."""
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(info).hexdigest()


def verify_device(
    checklist: Checklist, message: Sign1, instance_id: bytes, devices: Devices, *, name: str
) -> ec.EllipticCurvePublicKey:
    """Verify a token with the key that the policy has for the instance that it names.

    Checks, in this order: 1. the policy has the instance; 2. its key signed.

    Args:
        checklist: where the checks go.
        message: the token.
        instance_id: what the token claims; the signature shows whether it is true.
        devices: the policy's.
        name: the signature check's name.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    checklist.must(
        "instance id",
        holds=instance_id in devices,
        found=instance_id,
        wanted=" or ".join(known.hex() for known in devices),
        trust=Trust.INSTANCE_IDENTITY,
        hint="the platform is not among those that the federation approved; nothing was sent",
    )
    key = devices[instance_id]
    verify_sign1(checklist, message, key, name=name, known_ids=(instance_id, instance_id[1:]))
    return key
