"""ECDSA on P-256 with SHA-256, with keys and signatures as Intel's structures hold them.

The arithmetic is the library's; here are only the encodings: a key is x and y, a signature r and
s, 32 bytes each, big-endian.

Source: Intel TDX DCAP Quote Generation and Verification Library, appendix A.3.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from fedenclave.protocol.errors import MalformedMessage

_UNCOMPRESSED = b"\x04"


def parse_key(point: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """Return the key whose x and y are `point`, 64 bytes.

    Raises:
        MalformedMessage: it is no point on the curve.
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _UNCOMPRESSED + point)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage(f"{what} is no point on p-256") from error


def verifies(key: object, signature: bytes, data: bytes) -> bool:
    """Return whether `signature`, 64 bytes, is by `key` over `data`; False for any other key."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
