"""Keys, certificates and token signing that the fakes of Google and Microsoft share."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = 1_770_000_000
"""Unix seconds at which the fakes' evidence is fresh."""
DAY = 24 * 3600


@functools.cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return one private key per name, made once per run."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims: Mapping[str, Any], key: rsa.RSAPrivateKey, header: Mapping[str, Any]) -> bytes:
    """Return a token with these claims by `key`."""
    return jwt.encode(dict(claims), key, "RS256", headers=dict(header)).encode()


def sign_raw(header: bytes, claims: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """Return a token over these very bytes, however odd they are."""
    signed = f"{encode(header)}.{encode(claims)}".encode()
    signature = jwt.get_algorithm_by_name("RS256").sign(signed, key)
    return signed + b"." + encode(signature).encode()


def name_of(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(
    subject: str,
    key: rsa.RSAPrivateKey,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey,
    *,
    ca: bool,
    first: int = NOW - 1000 * DAY,
    last: int = NOW + 1000 * DAY,
) -> x509.Certificate:
    """Return a certificate as both vendors make them."""
    return (
        x509.CertificateBuilder()
        .subject_name(name_of(subject))
        .issuer_name(name_of(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(first, UTC))
        .not_valid_after(datetime.fromtimestamp(last, UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def x5c(*certificates: x509.Certificate) -> list[str]:
    return [base64.b64encode(c.public_bytes(Encoding.DER)).decode() for c in certificates]


def jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    """Return the public key as services publish it."""
    numbers = key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "kid": kid,
        "alg": "RS256",
        "use": "sig",
        "n": encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": "AQAB",
    }


def jwks(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()
