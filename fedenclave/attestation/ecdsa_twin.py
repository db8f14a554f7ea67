"""The other way to write a certificate that is signed by ECDSA.

A signature (r, s) by ECDSA verifies exactly if (r, n - s) does, n being the order of the curve's
group. So two certificates with different digests are one: whoever has the first can write the
second, without any key. RSA has no such twin; nor has the DER of r and s, which the library takes
in its shortest form alone.

The curve is not in the certificate, but with its issuer. It is told by the numbers here: the
smallest whose order both are below. A signature on a larger curve looks like that once in 2^128.

Source: SEC 1, version 2.0, section 4.1.4 (verification); NIST SP 800-186, section 3.2.1 (orders).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding

ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "ffffffffffffffffffffffffffffffffffffffffffffffff"
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    ),
    "secp521r1": int(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
        "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
        16,
    ),
}
"""Orders of the curves on which issuers may have keys, by the library's names, ascending."""

_ECDSA = "1.2.840.10045.4."
"""The arc of all signature algorithms by ECDSA (ANSI X9.62)."""


@asn1.sequence
class _Certificate:
    tbs: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


def twin(certificate: x509.Certificate) -> bytes | None:
    """Return the DER of the certificate's other spelling; None if it has none."""
    if not certificate.signature_algorithm_oid.dotted_string.startswith(_ECDSA):
        return None
    try:
        r, s = decode_dss_signature(certificate.signature)
    except ValueError:
        return None
    order = next((n for n in ORDERS.values() if 0 < r < n and 0 < s < n), None)
    if order is None:
        return None
    parsed = asn1.decode_der(_Certificate, certificate.public_bytes(Encoding.DER))
    signature = asn1.BitString(encode_dss_signature(r, order - s), 0)
    return asn1.encode_der(
        _Certificate(tbs=parsed.tbs, algorithm=parsed.algorithm, signature=signature)
    )
