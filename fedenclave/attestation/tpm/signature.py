"""A TPM's signature: TPMT_SIGNATURE, and whether it holds.

Rules:
  * RSASSA (PKCS #1 v1.5), RSAPSS and ECDSA, with SHA-256, SHA-384 or SHA-512. SHA-1 is refused.
  * Keys are RSA of 2048 bits and more with exponent 65537, or on P-256 or P-384.

Source: TCG TPM 2.0 Library, Part 2 (Structures), revision 1.59, section 11.3 (signatures);
Part 1, annex B.7 (RSAPSS: the salt is as long as the digest, or as long as fits; so its length is
read from the signature).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from fedenclave.attestation.event_log import ALGORITHMS
from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
"""What may be under a signature or in a name, by name."""

MIN_RSA_BITS, MAX_RSA_BITS, RSA_EXPONENT = 2048, 8192, 65537
CURVE_SIZES = {"secp256r1": 32, "secp384r1": 48}


class Scheme(StrEnum):
    """How a key signs."""

    RSASSA = "rsassa"
    RSAPSS = "rsapss"
    ECDSA = "ecdsa"


SCHEMES = {0x0014: Scheme.RSASSA, 0x0016: Scheme.RSAPSS, 0x0018: Scheme.ECDSA}
"""By TPM_ALG_ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature.

    `hash` is the name of the hash. `value` is for RSA the signature itself, for ECDSA the DER of
    its two integers.
    """

    scheme: Scheme
    hash: str
    value: bytes


def hash_name(algorithm: int, what: str) -> str:
    """Return the name of the hash with this TPM_ALG_ID.

    Raises:
        MalformedMessage: it is SHA-1, or none that is accepted.
    """
    name = ALGORITHMS.get(algorithm, "")
    if name not in HASHES:
        raise MalformedMessage(
            f"{what} uses hash {name or f'0x{algorithm:04x}'}, want {', '.join(HASHES)}"
        )
    return name


def parse_signature(data: bytes, what: str = "signature of the tpm") -> Signature:
    """Return the TPMT_SIGNATURE in `data`.

    Raises:
        MalformedMessage: it is none, or of a scheme or hash that is not accepted.
    """
    reader = Reader(data, what)
    algorithm = reader.big(2)
    scheme = SCHEMES.get(algorithm)
    if scheme is None:
        raise MalformedMessage(f"{what} is of scheme 0x{algorithm:04x}, want rsa or ecdsa")
    hash_ = hash_name(reader.big(2), what)
    if scheme is Scheme.ECDSA:
        r, s = (int.from_bytes(_field(reader, what, 48), "big") for _ in range(2))
        value = utils.encode_dss_signature(r, s)
    else:
        value = _field(reader, what, MAX_RSA_BITS // 8)
    reader.finish()
    return Signature(scheme=scheme, hash=hash_, value=value)


def _field(reader: Reader, what: str, largest: int) -> bytes:
    size = reader.big(2)
    if not 1 <= size <= largest:
        raise MalformedMessage(f"{what} has a number of {size} bytes, want 1 to {largest}")
    return reader.take(size)


def weakness(key: object) -> str:
    """Return why `key` is not accepted as a signer or an endorsement key; empty if it is."""
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS or exponent != RSA_EXPONENT:
            return f"rsa of {key.key_size} bits with exponent {str(exponent)[:20]}"
        return ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVE_SIZES else f"on curve {key.curve.name}"
    return f"a key of kind {type(key).__name__}"


def verify_signature(key: PublicKey, signature: Signature, message: bytes) -> bool:
    """Return whether `signature` is `key`'s over `message`.

    A key that is too weak or of another kind than the scheme signs nothing: False.
    """
    hash_ = HASHES.get(signature.hash)
    if hash_ is None or weakness(key):
        return False
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if signature.scheme is not Scheme.ECDSA:
                return False
            key.verify(signature.value, message, ec.ECDSA(hash_))
        elif signature.scheme is Scheme.RSASSA:
            key.verify(signature.value, message, padding.PKCS1v15(), hash_)
        elif signature.scheme is Scheme.RSAPSS:
            mask = padding.MGF1(hash_)
            key.verify(signature.value, message, padding.PSS(mask, padding.PSS.AUTO), hash_)
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True
