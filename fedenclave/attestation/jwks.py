"""RSA keys of JSON Web Key Sets, and the sets that lie in a collateral bundle.

Nobody signs a JWKS: it came over TLS to whoever made the bundle, and rests on that since. So its
age is judged from the time at which it was fetched, and the newest set that is not from the future
is the only one asked: a key that the vendor has withdrawn is not to be found in an older one.

Source: RFC 7517 (JWK), sections 4 and 5; RFC 7518, section 6.3.1 (RSA public keys).
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from fedenclave.attestation.certificates import parse_certificate
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import CollateralFile, judge_age
from fedenclave.attestation.format import Question
from fedenclave.attestation.jws import Token, base64url
from fedenclave.attestation.result import Trust
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

MIN_BITS, MAX_BITS = 2048, 8192
"""RFC 7518 asks for 2048; the upper limit keeps one verification short."""
_EXPONENT = 65537


def rsa_key(jwk: JsonObject) -> RSAPublicKey:
    """Return the RSA key of a JWK's `n` and `e`.

    Raises:
        MalformedMessage: it is no RSA key of 2048 to 8192 bits with the exponent 65537.
    """
    if jwk.text("kty") != "RSA":
        raise MalformedMessage(f"{jwk.what} is a key of type {jwk.text('kty')[:20]!r}, want RSA")
    modulus, exponent = (
        int.from_bytes(base64url(jwk.text(name).encode(), f"{jwk.what} {name}"), "big")
        for name in ("n", "e")
    )
    if not MIN_BITS <= modulus.bit_length() <= MAX_BITS or exponent != _EXPONENT:
        raise MalformedMessage(
            f"{jwk.what} has {modulus.bit_length()} bits and exponent {exponent % 2**64}, want "
            f"{MIN_BITS} to {MAX_BITS} bits and {_EXPONENT}"
        )
    try:
        return RSAPublicNumbers(_EXPONENT, modulus).public_key()
    except ValueError as error:
        raise MalformedMessage(f"{jwk.what} is no RSA key that can be used") from error


def x5c_certificates(owner: JsonObject) -> tuple[x509.Certificate, ...]:
    """Return the certificates of `x5c` in a JWK or a token's header, leaf first.

    Raises:
        MalformedMessage: one is not canonical base64 of a certificate.
    """
    return tuple(
        parse_certificate(_base64(text, owner.what), f"{owner.what} x5c")
        for text in owner.texts("x5c")
    )


def _base64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text.encode(), validate=True)
    except binascii.Error as error:
        raise MalformedMessage(f"{what} x5c is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise MalformedMessage(f"{what} x5c is not canonical base64")
    return data


def certified_key(certificate: x509.Certificate, what: str) -> RSAPublicKey:
    """Return the certificate's RSA key.

    Raises:
        MalformedMessage: it has another kind of key, or one of fewer than 2048 bits.
    """
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or not MIN_BITS <= key.key_size <= MAX_BITS:
        raise MalformedMessage(f"{what} certifies no RSA key of {MIN_BITS} to {MAX_BITS} bits")
    return key


def find_key(checklist: Checklist, name: str, token: Token, question: Question) -> JsonObject:
    """Return the JWK that the token's `kid` names, out of the bundle's JWKS `name`.

    Raises:
        EvidenceRefused: there is no such set, it is too old, or does not hold the key once.
        MalformedMessage: the set, or the token's `kid`, cannot be read.
    """
    trust = Trust.INSTANCE_IDENTITY
    file = _current(checklist, name, question)
    judge_age(
        checklist,
        name,
        issued=file.fetched,
        next_update=None,
        now=question.now,
        max_age_seconds=question.collateral_max_age_seconds,
        trust=trust,
    )
    kid = token.header.text("kid")
    keys = parse_object(file.data, f"jwks {name}").tables("keys")
    found = [key for key in keys if key.values.get("kid") == kid]
    checklist.must(
        "signing key",
        holds=len(found) == 1,
        found=f"{len(found)} keys with kid {kid}",
        wanted=f"one of the {len(keys)} keys of {name}",
        trust=trust,
        hint="the vendor changes its keys: fetch the collateral again; or it was never its key",
    )
    return found[0]


def _current(checklist: Checklist, name: str, question: Question) -> CollateralFile:
    versions = question.collateral.need(name, checklist, Trust.INSTANCE_IDENTITY)
    # If all are from the future, the newest goes on to be refused for its age.
    return next((file for file in versions if file.fetched <= question.now), versions[0])
