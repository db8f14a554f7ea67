"""RSA keys of JSON Web Key Sets, and the sets that lie in a collateral bundle.

Nobody signs a JWKS: it came over TLS to whoever made the bundle, and rests on that since. So its
age is judged from the time at which it was fetched, and the newest set that is not from the future
is the only one asked: a key that the vendor has withdrawn is not to be found in an older one.

Source: RFC 7517 (JWK), sections 4 and 5; RFC 7518, section 6.3.1 (RSA public keys).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from fedenclave.attestation.certificates import parse_certificate
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import CollateralFile, judge_age, read_versions
from fedenclave.attestation.format import Question
from fedenclave.attestation.jws import Token, base64url
from fedenclave.attestation.result import Trust
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

MIN_BITS, MAX_BITS = 2048, 8192
"""RFC 7518 asks for 2048; the upper limit keeps one verification short."""
_EXPONENT = 65537
T = TypeVar("T")


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
    _check_numbers(modulus, exponent, jwk.what)
    try:
        return RSAPublicNumbers(_EXPONENT, modulus).public_key()
    except ValueError as error:
        raise MalformedMessage(f"{jwk.what} is no RSA key that can be used") from error


def _check_numbers(modulus: int, exponent: int, what: str) -> None:
    if not MIN_BITS <= modulus.bit_length() <= MAX_BITS or exponent != _EXPONENT:
        raise MalformedMessage(
            f"{what} has an rsa key of {modulus.bit_length()} bits with the exponent "
            f"{exponent if exponent < 2**64 else 'of more than 64 bits'}, want {MIN_BITS} to "
            f"{MAX_BITS} bits and {_EXPONENT}"
        )


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
        MalformedMessage: it has another kind of key, or no RSA key of 2048 to 8192 bits with the
            exponent 65537.
    """
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise MalformedMessage(f"{what} certifies no rsa key")
    numbers = key.public_numbers()
    _check_numbers(numbers.n, numbers.e, what)
    return key


def find_key(
    checklist: Checklist,
    name: str,
    token: Token,
    question: Question,
    read: Callable[[JsonObject], T],
) -> T:
    """Return what `read` makes of the JWK that the token's `kid` names, in the bundle's JWKS.

    Args:
        checklist: where the checks go.
        name: of the set in the bundle.
        token: the token.
        question: for the time and the bundle.
        read: raises MalformedMessage for a key that it cannot read.

    Raises:
        EvidenceRefused: there is no such set; it, or the key, cannot be read; it is too old, or
            does not hold the key once.
        MalformedMessage: the token's `kid` cannot be read.
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

    def read_set(file: CollateralFile) -> tuple[JsonObject, ...]:
        return parse_object(file.data, "jwks").tables("keys")

    [keys] = read_versions(checklist, name, [file], read_set, trust)
    found = [key for key in keys if key.values.get("kid") == kid]
    checklist.must(
        "signing key",
        holds=len(found) == 1,
        found=f"{len(found)} keys with kid {kid}",
        wanted=f"one of the {len(keys)} keys of {name}",
        trust=trust,
        hint="the vendor changes its keys: fetch the collateral again; or it was never its key",
    )
    [key] = read_versions(checklist, name, [file], lambda _: read(found[0]), trust)
    return key


def _current(checklist: Checklist, name: str, question: Question) -> CollateralFile:
    versions = question.collateral.need(name, checklist, Trust.INSTANCE_IDENTITY)
    # If all are from the future, the newest goes on to be refused for its age.
    return next((file for file in versions if file.fetched <= question.now), versions[0])
