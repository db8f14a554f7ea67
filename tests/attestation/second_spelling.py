"""The other spelling of a certificate, and lists of the members that revoke one thing.

The DER is written out here by hand, so that a slip in `ecdsa_twin.py` is not one here too.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.revocations import Revocations, Revoked

ORDERS = {
    "secp256r1": 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF,
    "secp384r1": 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
    "secp521r1": 2**521 - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
}


def respelt(certificate: x509.Certificate, curve: str) -> bytes:
    """Return the DER with the signature (r, n - s), for an issuer's key on `curve`."""
    der = certificate.public_bytes(Encoding.DER)
    signed = certificate.tbs_certificate_bytes
    rest = der[der.index(signed) + len(signed) :]
    algorithm = rest[: 2 + rest[1]]
    r, s = decode_dss_signature(certificate.signature)
    signature = encode_dss_signature(r, ORDERS[curve] - s)
    return element(0x30, signed + algorithm + element(0x03, b"\0" + signature))


def element(tag: int, content: bytes) -> bytes:
    """Return a DER element."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def digest(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def revoking(format_: str, what: str, value: str) -> Revocations:
    """Return a list that never expires, and revokes one thing."""
    entry = Revoked(format=format_, what=what, value=value, reason="stolen")
    return Revocations(
        federation="fed", serial=1, issued=0, expires=2**40, revoked=(entry,), floors=()
    )
