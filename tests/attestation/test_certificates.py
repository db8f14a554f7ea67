"""Certificates that nobody would issue: never another error than the documented one."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.certificates import (
    fingerprint,
    fingerprints,
    parse_certificate,
    parse_certificates,
    verify_chain,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.crl import parse_crl
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.fake_tokens import name_of, rsa_key
from tests.attestation.second_spelling import digest, respelt

NOW = 1_780_000_000
YEARS = (2025, 2035)
KEY = ec.generate_private_key(ec.SECP256R1())
TLS_FEATURE = "1.3.6.1.5.5.7.1.24"
UNKNOWN_FEATURE = b"\x30\x03\x02\x01\x63"
"""A sequence of one number, which the library looks up in a table that has not got it."""


def certificate(
    key: Any = None,
    signer: Any = KEY,
    *extensions: x509.ExtensionType,
    subject: str = "issuer",
    years: tuple[int, int] = YEARS,
) -> x509.Certificate:
    """Return a certificate of a public key, by `signer`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(subject))
        .issuer_name(name_of("issuer"))
        .public_key(key or KEY.public_key())
        .serial_number(7)
        .not_valid_before(datetime(years[0], 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(years[1], 1, 1, tzinfo=UTC))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256())


def unknown(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def test_a_certificate_at_which_the_library_trips_over_its_own_table_is_malformed() -> None:
    odd = certificate(None, KEY, unknown(TLS_FEATURE, UNKNOWN_FEATURE))
    der, pem = (odd.public_bytes(encoding) for encoding in (Encoding.DER, Encoding.PEM))
    with pytest.raises(MalformedMessage):
        parse_certificate(der, "certificate")
    for data in (der, pem, pem * 3):
        with pytest.raises(MalformedMessage):
            parse_certificates(data, "certificates")


@pytest.mark.parametrize("years", [(2050, 2060), (2025, 2050)])
def test_a_certificate_of_the_year_zero_is_malformed(years: tuple[int, int]) -> None:
    der = certificate(years=years).public_bytes(Encoding.DER)
    assert der.count(b"20500101000000Z") == 1
    with pytest.raises(MalformedMessage):
        parse_certificate(der.replace(b"20500101000000Z", b"00000101000000Z"), "certificate")


@pytest.mark.parametrize("serial", [b"\x00", b"\x81"])
def test_an_odd_serial_number_leads_to_no_warning(serial: bytes) -> None:
    der = certificate().public_bytes(Encoding.DER)
    start = der[:20].index(b"\x02\x01\x07") + 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_certificate(der[:start] + serial + der[start + 1 :], "certificate")


OIDS = (TLS_FEATURE, "2.5.29.17", "2.5.29.31", "2.5.29.32", "1.3.6.1.5.5.7.1.1")


@given(st.binary(max_size=60), st.integers(0, 1000), st.sampled_from(OIDS))
def test_no_bytes_of_a_certificate_or_list_lead_to_another_error(
    value: bytes, place: int, oid: str
) -> None:
    der = bytearray(certificate(None, KEY, unknown(oid, value)).public_bytes(Encoding.DER))
    der[place % len(der)] ^= 1 + place % 255
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of("issuer"))
        .last_update(datetime(2025, 1, 1, tzinfo=UTC))
        .next_update(datetime(2026, 1, 1, tzinfo=UTC))
        .add_extension(unknown(oid, value), critical=False)
    )
    crl = bytearray(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER))
    crl[place % len(crl)] ^= place % 7
    for read, data in (
        (parse_certificate, bytes(der)),
        (parse_certificates, value),
        (parse_crl, bytes(crl)),
        (parse_crl, value),
    ):
        try:
            read(data, "it")
        except MalformedMessage:
            continue


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_certificate_by_ecdsa_has_two_spellings_that_verify_and_share_their_names(
    curve: ec.EllipticCurve,
) -> None:
    key = ec.generate_private_key(curve)
    one = certificate(key.public_key(), key)
    other = parse_certificate(respelt(one, curve.name), "certificate")
    other.verify_directly_issued_by(one)
    assert fingerprint(other) != fingerprint(one)
    assert fingerprints(one) == (fingerprint(one), digest(respelt(one, curve.name)))
    assert fingerprints(other) == fingerprints(one)[::-1]
    assert fingerprints(one, other) == fingerprints(one)


def test_a_certificate_by_rsa_has_one_spelling() -> None:
    one = certificate(signer=rsa_key("issuer"))
    assert fingerprints(one) == (fingerprint(one),)


def test_a_signature_of_two_numbers_that_are_none_of_a_curve_has_one_spelling() -> None:
    one = certificate()
    der, size = one.public_bytes(Encoding.DER), len(one.signature)
    for signature in (bytes(size), b"\x30" + bytes([size - 2]) + b"\x02\x01\x00" + b"\x02"):
        odd = parse_certificate(der[:-size] + signature.ljust(size, b"\x00"), "certificate")
        assert fingerprints(odd) == (fingerprint(odd),)


ISSUERS = {
    "rsa key of 1024 bits": rsa_key("small", 1024).public_key(),
    "rsa key of 16384 bits": rsa.RSAPublicNumbers(65537, 2**16383 + 1).public_key(),
    "key on secp224r1": ec.generate_private_key(ec.SECP224R1()).public_key(),
    "key on brainpoolP256r1": ec.generate_private_key(ec.BrainpoolP256R1()).public_key(),
    "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
}


@pytest.mark.parametrize("kind", ISSUERS)
def test_an_issuer_whose_key_no_vendor_has_is_not_asked_to_verify(kind: str) -> None:
    authority = x509.BasicConstraints(ca=True, path_length=None)
    issuer = certificate(ISSUERS[kind], KEY, authority)
    checklist = Checklist()
    with pytest.raises(EvidenceRefused) as refused:
        verify_chain(checklist, [certificate(subject="leaf")], issuer, name="chain", now=NOW)
    assert "issuer has a" in refused.value.checks[-1].found
    assert kind in refused.value.checks[-1].found
