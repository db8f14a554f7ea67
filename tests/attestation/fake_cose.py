"""Make COSE messages and keys, right and wrong."""

from __future__ import annotations

from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedenclave.attestation.cose import ALGORITHMS, CURVES, Algorithm

ES256, ES384, ES512 = ALGORITHMS


def new_key(algorithm: Algorithm) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(algorithm.curve)


def pem(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def cose_key(key: ec.EllipticCurvePublicKey, **more: Any) -> bytes:
    """Encode a COSE_Key; `more` has labels as `l_3` or `l_minus_1`; None leaves one out."""
    algorithm, encoded = CURVES[key.curve.name], point(key)
    fields: dict[int, Any] = {
        1: 2,
        -1: algorithm.curve_label,
        -2: encoded[1 : 1 + algorithm.size],
        -3: encoded[1 + algorithm.size :],
    }
    for name, value in more.items():
        label = int(name.removeprefix("l_").replace("minus_", "-"))
        fields[label] = value
    return cbor2.dumps({label: value for label, value in fields.items() if value is not None})


def sign(key: ec.EllipticCurvePrivateKey, protected: bytes, payload: bytes) -> bytes:
    """Return r and s over the Sig_structure of RFC 9052, section 4.4."""
    algorithm = CURVES[key.curve.name]
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(algorithm.hash)))
    return r.to_bytes(algorithm.size, "big") + s.to_bytes(algorithm.size, "big")


def sign1(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    *,
    protected: dict[Any, Any] | None = None,
    unprotected: Any = None,
    tag: int | None = 18,
) -> bytes:
    """Return a COSE_Sign1 message; `protected` replaces the header, which is signed as it is."""
    header = {1: CURVES[key.curve.name].label} if protected is None else protected
    encoded = cbor2.dumps(header)
    message = [encoded, unprotected or {}, payload, sign(key, encoded, payload)]
    return cbor2.dumps(message if tag is None else cbor2.CBORTag(tag, message))
