"""Public areas: what a TPM is told to make. The same bytes give the same key after every restart.

Sources: TPM 2.0 Library, Part 2, sections 8.3 (TPMA_OBJECT), 11.2 (algorithms), 12.2
(TPMT_PUBLIC); TCG EK Credential Profile for TPM Family 2.0, version 2.5, annex B.3.3 (template
L-1) and B.3.4 (template L-2); TCG TPM v2.0 Provisioning Guidance, section 7.5.1 (storage).
"""

from __future__ import annotations

import hashlib

from fedenclave.enclave.tpm.wire import sized, u16, u32

RSA, KEYED_HASH, ECC = 0x0001, 0x0008, 0x0023
AES, CFB = 0x0006, 0x0043
SHA256 = 0x000B
NO_ALGORITHM = 0x0010
ECDSA = 0x0018
P256 = 0x0003

FIXED_TPM = 1 << 1
FIXED_PARENT = 1 << 4
SENSITIVE_DATA_ORIGIN = 1 << 5
USER_WITH_AUTH = 1 << 6
ADMIN_WITH_POLICY = 1 << 7
NO_DA = 1 << 10
RESTRICTED = 1 << 16
DECRYPT = 1 << 17
SIGN = 1 << 18

_FIXED = FIXED_TPM | FIXED_PARENT
_NONE = u16(NO_ALGORITHM)
_AES_128_CFB = u16(AES) + u16(128) + u16(CFB)
_POINT_SIZE = 32


def _public(kind: int, attributes: int, policy: bytes, rest: bytes) -> bytes:
    return u16(kind) + u16(SHA256) + u32(attributes) + sized(policy) + rest


def _point(x: bytes, y: bytes) -> bytes:
    return sized(x) + sized(y)


_ZERO_POINT = _point(bytes(_POINT_SIZE), bytes(_POINT_SIZE))

# A restricted key signs nothing but what the TPM itself has written: no quote can be forged with
# it. The label makes it no other program's key, though the TPM's seed is the same.
ATTESTATION_KEY = _public(
    ECC,
    _FIXED | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN,
    b"",
    _NONE
    + (u16(ECDSA) + u16(SHA256))
    + u16(P256)
    + _NONE
    + _point(hashlib.sha256(b"fedenclave/tpm-attestation-key/v1").digest(), bytes(_POINT_SIZE)),
)
"""ECDSA over P-256 with SHA-256."""

# TPM2_PolicySecret(TPM_RH_ENDORSEMENT): whoever has the endorsement authorisation may use the key.
_ENDORSEMENT_POLICY = bytes.fromhex(
    "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
)
_ENDORSEMENT_ATTRIBUTES = _FIXED | SENSITIVE_DATA_ORIGIN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT

ENDORSEMENT_RSA = _public(
    RSA,
    _ENDORSEMENT_ATTRIBUTES,
    _ENDORSEMENT_POLICY,
    # Key bits, the default exponent, and a modulus of zeros to start from.
    _AES_128_CFB + _NONE + u16(2048) + u32(0) + sized(bytes(256)),
)
"""Template L-1: RSA-2048."""

ENDORSEMENT_ECC = _public(
    ECC,
    _ENDORSEMENT_ATTRIBUTES,
    _ENDORSEMENT_POLICY,
    _AES_128_CFB + _NONE + u16(P256) + _NONE + _ZERO_POINT,
)
"""Template L-2: P-256."""

STORAGE_KEY = _public(
    ECC,
    _FIXED | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT,
    b"",
    _AES_128_CFB + _NONE + u16(P256) + _NONE + _ZERO_POINT,
)
"""The storage root key over P-256."""


def sealed_data(policy: bytes) -> bytes:
    """Return the public area of data that only a session with this `policy` digest opens."""
    return _public(KEYED_HASH, _FIXED | ADMIN_WITH_POLICY | NO_DA, policy, _NONE + sized(b""))
