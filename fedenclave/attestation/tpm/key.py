"""A TPM's public key: TPMT_PUBLIC, and the Name by which the TPM and a policy know it.

The Name is a hash over the whole structure: key, scheme and attributes. Who pins a Name pins all
of that.

Source: TCG TPM 2.0 Library, Part 2 (Structures), revision 1.59, sections 12.2.4 (TPMT_PUBLIC), 8.3
(TPMA_OBJECT), 12.2.3.5 and 12.2.3.6 (parameters of RSA and ECC), 11.1.7 (TPMT_SYM_DEF_OBJECT);
Part 1, section 16 (Names). Bits 8 and 9 of the attributes: revision 1.83.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntFlag

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fedenclave.attestation.reader import Reader
from fedenclave.attestation.tpm.signature import (
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    RSA_EXPONENT,
    SCHEMES,
    PublicKey,
    Scheme,
    hash_name,
)
from fedenclave.protocol.errors import MalformedMessage

ALG_RSA, ALG_NULL, ALG_ECC, ALG_AES = 0x0001, 0x0010, 0x0023, 0x0006
_CURVES: dict[int, tuple[type[ec.EllipticCurve], int]] = {
    0x0003: (ec.SECP256R1, 32),
    0x0004: (ec.SECP384R1, 48),
}
"""By TPM_ECC_CURVE: the curve, and the bytes of a coordinate."""


class Attribute(IntFlag):
    """TPMA_OBJECT."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    FIRMWARE_LIMITED = 1 << 8
    SVN_LIMITED = 1 << 9
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18
    X509_SIGN = 1 << 19


_KNOWN = sum(Attribute)
_MUST = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.RESTRICTED
    | Attribute.SIGN
)
_MUST_NOT = Attribute.DECRYPT | Attribute.X509_SIGN | Attribute.ENCRYPTED_DUPLICATION


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmKey:
    """A TPMT_PUBLIC.

    Attributes:
        name: `nameAlg` and the hash of the structure.
        attributes: as the TPM enforces them.
        policy: digest of the policy under which it may be used; empty where there is none.
        restricted_to_decrypt: whether it has a symmetric algorithm, as a storage key has.
        scheme: the only scheme it signs with; None where it leaves that open.
        hash: the scheme's hash; empty where `scheme` is None.
        key: the public key.
    """

    name: bytes
    attributes: Attribute
    policy: bytes
    restricted_to_decrypt: bool
    scheme: Scheme | None
    hash: str
    key: PublicKey


def parse_public(data: bytes, what: str = "key of the tpm") -> TpmKey:
    """Return the TPMT_PUBLIC in `data`, of an RSA or ECC key.

    Raises:
        MalformedMessage: it is none, or of a kind, curve, size or hash that is not accepted.
    """
    reader = Reader(data, what)
    kind = reader.big(2)
    name_hash = hash_name(reader.big(2), what)
    bits = reader.big(4)
    if bits & ~_KNOWN:
        raise MalformedMessage(f"{what} has unknown attributes 0x{bits & ~_KNOWN:08x}")
    policy = reader.take(reader.big(2))
    if len(policy) not in (0, hashlib.new(name_hash).digest_size):
        raise MalformedMessage(f"{what} has a policy of {len(policy)} bytes")
    symmetric = _read_symmetric(reader, what)
    scheme, hash_ = _read_scheme(reader, what)
    if kind == ALG_RSA:
        key: PublicKey = _read_rsa(reader, what)
    elif kind == ALG_ECC:
        key = _read_ecc(reader, what)
    else:
        raise MalformedMessage(f"{what} is of kind 0x{kind:04x}, want rsa or ecc")
    reader.finish()
    if scheme is not None and (scheme is Scheme.ECDSA) != (kind == ALG_ECC):
        raise MalformedMessage(f"{what} has scheme {scheme}, which is not for its kind")
    return TpmKey(
        name=data[2:4] + hashlib.new(name_hash, data).digest(),
        attributes=Attribute(bits),
        policy=policy,
        restricted_to_decrypt=symmetric,
        scheme=scheme,
        hash=hash_,
        key=key,
    )


def _read_symmetric(reader: Reader, what: str) -> bool:
    """Read a TPMT_SYM_DEF_OBJECT; return whether there is an algorithm."""
    algorithm = reader.big(2)
    if algorithm == ALG_NULL:
        return False
    if algorithm != ALG_AES:
        raise MalformedMessage(
            f"{what} has symmetric algorithm 0x{algorithm:04x}, want aes or none"
        )
    reader.take(4)  # key size and mode, which the Name covers
    return True


def _read_scheme(reader: Reader, what: str) -> tuple[Scheme | None, str]:
    """Read a TPMT_RSA_SCHEME or TPMT_ECC_SCHEME."""
    algorithm = reader.big(2)
    if algorithm == ALG_NULL:
        return None, ""
    if algorithm not in SCHEMES:
        raise MalformedMessage(f"{what} has scheme 0x{algorithm:04x}, want rsa or ecdsa signing")
    return SCHEMES[algorithm], hash_name(reader.big(2), what)


def _read_rsa(reader: Reader, what: str) -> rsa.RSAPublicKey:
    bits, exponent = reader.big(2), reader.big(4)
    modulus = reader.take(reader.big(2))
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS or 8 * len(modulus) != bits:
        raise MalformedMessage(f"{what} is rsa of {bits} bits, want {MIN_RSA_BITS} or more")
    if exponent not in (0, RSA_EXPONENT):
        raise MalformedMessage(f"{what} has exponent {exponent}, want {RSA_EXPONENT}")
    number = int.from_bytes(modulus, "big")
    if number.bit_length() != bits:
        raise MalformedMessage(f"{what} has a modulus of {number.bit_length()} bits, want {bits}")
    try:
        return rsa.RSAPublicNumbers(RSA_EXPONENT, number).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage(f"{what} is not an rsa key") from error


def _read_ecc(reader: Reader, what: str) -> ec.EllipticCurvePublicKey:
    number = reader.big(2)
    kdf = reader.big(2)
    if number not in _CURVES or kdf != ALG_NULL:
        raise MalformedMessage(
            f"{what} is on curve 0x{number:04x}, want p-256 or p-384 without kdf"
        )
    curve, size = _CURVES[number]
    # Some TPMs write coordinates without leading zeros. The Name covers what they wrote.
    x, y = (reader.take(reader.big(2)) for _ in range(2))
    if not 1 <= len(x) <= size or not 1 <= len(y) <= size:
        raise MalformedMessage(f"{what} has a point of {len(x)} and {len(y)} bytes, want {size}")
    try:
        return ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve()
        ).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage(f"{what} has a point that is not on its curve") from error


def attestation_problem(key: TpmKey) -> str:
    """Return why `key` is no attestation key; empty if it is one.

    A restricted signing key signs what the TPM itself generated, and nothing that looks like it; a
    key that is fixed and was made inside never existed elsewhere. Without these, a host could sign
    quotes of its own making.
    """
    missing, wrong = _MUST & ~key.attributes, _MUST_NOT & key.attributes
    if missing:
        return f"lacks {', '.join(attribute_names(missing))}"
    if wrong:
        return f"has {', '.join(attribute_names(wrong))}"
    if key.restricted_to_decrypt or key.scheme is None:
        return "leaves its signing scheme open"
    return ""


def attribute_names(attributes: Attribute) -> list[str]:
    """Return the attributes' names, for people."""
    return [a.name.lower().replace("_", "-") for a in attributes if a.name]
