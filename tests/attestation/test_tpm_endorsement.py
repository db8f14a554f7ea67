"""Endorsement keys and the members' word: that a key lies in a TPM of a pinned vendor."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.format import Parts
from fedenclave.attestation.result import Status
from fedenclave.attestation.tpm.signature import Scheme, Signature, verify_signature, weakness
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.protocol.signing import sign
from tests.attestation.fake_tpm import MEMBERS, NOW, FakeTpm, by_challenge, policy
from tests.attestation.fake_tpm_vendor import EK_PURPOSE, pem, tpm_names, usage, vendor_of
from tests.attestation.tpm_appraisal import appraise, refusal
from tests.attestation.tpm_structures import ec_key, name_of, public_area, rsa_key


def test_a_key_that_enough_members_activated_is_affirmed(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta")}
    assert appraise(parts, by_challenge(tpm)).status is Status.AFFIRMING


def test_an_rsa_endorsement_key_and_a_chain_in_der_are_affirmed() -> None:
    tpm = FakeTpm(ek_key=rsa_key(1))
    ders = [c.public_bytes(Encoding.DER) for c in (tpm.ek_certificate, tpm.vendor.intermediate)]
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta"), "ek-certificates": b"".join(ders)}
    assert appraise(parts, by_challenge(tpm))
    copy = tpm.vendor.root.public_bytes(Encoding.DER)
    assert appraise({**parts, "ek-certificates": b"".join([*ders, copy])}, by_challenge(tpm))


def test_too_few_members_are_refused(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha")}
    assert refusal(parts, by_challenge(tpm)) == "ak"


def test_one_member_does_not_count_twice(tpm: FakeTpm) -> None:
    again = tpm.activation("alpha", time=NOW)
    parts = {**tpm.parts(), **tpm.endorsed("alpha")}
    parts["activations"] = pack_activations([tpm.activation("alpha"), again])
    assert refusal(parts, by_challenge(tpm)) == "activations"


def test_a_member_that_is_not_named_does_not_count(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "gamma")}
    assert refusal(parts, by_challenge(tpm, 2, "alpha", "beta")) == "activations"


@pytest.mark.parametrize(
    "fields", [{"attestation_key": name_of(public_area(ec_key(7)))}, {"ek_certificate": bytes(32)}]
)
def test_a_statement_about_another_key_or_machine_is_refused(
    tpm: FakeTpm, fields: dict[str, Any]
) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha")}
    parts["activations"] = pack_activations([tpm.activation("beta", **fields)])
    assert refusal(parts, by_challenge(tpm, 1)) == "activations"


def test_a_statement_of_another_type_is_refused(tpm: FakeTpm) -> None:
    from fedenclave.protocol.statements import Approval

    other = Approval(version=1, federation="f", manifest=hashlib.sha256().digest(), member="alpha")  # type: ignore[arg-type]
    parts = {**tpm.parts(), **tpm.endorsed("alpha")}
    parts["activations"] = pack_activations([sign(other, MEMBERS["alpha"])])
    assert refusal(parts, by_challenge(tpm, 1)) == "activations"


@pytest.mark.parametrize("data", [b"", b"\x80\x80", b"\x81\x01", b"\xa0", b"\x81\x41\x00"])
def test_statements_that_do_not_decode_are_refused(tpm: FakeTpm, data: bytes) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha"), "activations": data}
    assert refusal(parts, by_challenge(tpm, 1)) == "structure"


@pytest.mark.parametrize("part", ["ek-certificates", "activations"])
def test_certificates_and_statements_are_needed_with_a_challenge_and_refused_without(
    tpm: FakeTpm, part: str
) -> None:
    endorsed = tpm.endorsed("alpha", "beta")
    without = {name: data for name, data in endorsed.items() if name != part}
    assert refusal({**tpm.parts(), **without}, by_challenge(tpm)) == "parts for this policy"
    given_one = {**tpm.parts(), part: endorsed[part]}
    assert refusal(given_one, policy(tpm)) == "parts for this policy"


def twice_named() -> x509.SubjectAlternativeName:
    (directory,) = tpm_names()
    return x509.SubjectAlternativeName([directory, directory])


def endorse(tpm: FakeTpm, certificate: x509.Certificate, *more: x509.Certificate) -> Parts:
    tpm.ek_certificate = certificate
    chain = pem(certificate, *(more or (tpm.vendor.intermediate,)))
    return {**tpm.parts(), **tpm.endorsed("alpha", "beta"), "ek-certificates": chain}


def test_another_vendors_chain_is_refused() -> None:
    tpm = FakeTpm()
    other = vendor_of("other", 30)
    text = by_challenge(tpm)
    assert refusal(endorse(tpm, other.certify(tpm.ek_key), other.intermediate), text) == "ek root"


def test_a_vendor_of_the_same_name_is_refused() -> None:
    tpm = FakeTpm()
    fake = vendor_of("fake tpm", 30)
    text = by_challenge(tpm)
    assert refusal(endorse(tpm, fake.certify(tpm.ek_key), fake.intermediate), text) == "ek chain"


def test_a_root_is_accepted_only_if_it_is_pinned_and_in_the_bundle(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta")}
    assert refusal(parts, by_challenge(tpm), collateral={}) == "ek root"
    other = by_challenge(tpm, ek_roots=f'["{"00" * 32}"]')
    assert refusal(parts, other) == "ek root"
    elsewhere = {"tpm/roots/fake.pem": vendor_of().collateral()["tpm/ek-roots/fake.pem"]}
    assert refusal(parts, by_challenge(tpm), collateral=elsewhere) == "ek root"


def test_a_bundle_whose_root_does_not_parse_is_refused(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta")}
    broken = {"tpm/ek-roots/a.pem": b"no certificate"}
    assert refusal(parts, by_challenge(tpm), collateral=broken) == "structure of tpm/ek-roots/a.pem"


def test_an_expired_endorsement_is_refused(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta")}
    later = NOW + 10 * 366 * 24 * 3600
    assert refusal(parts, by_challenge(tpm), now=later) == "ek chain validity"


@pytest.mark.parametrize(
    "fields",
    [
        {"purpose": None},
        {"purpose": x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.3")])},
        {"names": tpm_names(leave_out="2.23.133.2.1")},
        {"names": x509.SubjectAlternativeName([x509.DNSName("a.example")])},
        {"names": twice_named()},
        {"use": usage(digital_signature=True)},
        {"is_ca": True},
        {"leave_out": "SubjectAlternativeName"},
        {"leave_out": "KeyUsage"},
        {"leave_out": "BasicConstraints"},
    ],
    ids=lambda fields: " ".join(fields),
)
def test_a_certificate_that_is_not_of_an_endorsement_key_is_refused(fields: dict[str, Any]) -> None:
    tpm = FakeTpm()
    parts = endorse(tpm, tpm.vendor.certify(tpm.ek_key, **fields))
    assert refusal(parts, by_challenge(tpm)) == "ek certificate"


@pytest.mark.parametrize("key", [rsa_key(9), ec_key(6, ec.SECP521R1)], ids=["rsa-1024", "p521"])
def test_an_endorsement_key_that_is_weak_or_unknown_is_refused(key: Any) -> None:
    tpm = FakeTpm(ek_key=key)
    parts = endorse(tpm, tpm.vendor.certify(key))
    assert refusal(parts, by_challenge(tpm)) == "ek certificate"


def test_an_authority_of_other_use_is_refused() -> None:
    other = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING])
    for purpose, check in [(other, "ek certificate"), (EK_PURPOSE, "")]:
        tpm = FakeTpm(vendor=vendor_of("choosy", 40, purpose))
        parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta")}
        files = tpm.vendor.collateral()
        if check:
            assert refusal(parts, by_challenge(tpm), collateral=files) == check
        else:
            assert appraise(parts, by_challenge(tpm), collateral=files)


@pytest.mark.parametrize(
    ("key", "scheme"),
    [(ec_key(), Scheme.RSASSA), (rsa_key(), Scheme.ECDSA), (rsa_key(9), Scheme.RSASSA)],
)
@pytest.mark.parametrize("hash_", ["sha256", "sha1"])
def test_a_key_signs_by_its_own_scheme_only(key: Any, scheme: Scheme, hash_: str) -> None:
    signature = Signature(scheme=scheme, hash=hash_, value=bytes(256))
    assert not verify_signature(key.public_key(), signature, b"message")
    assert weakness(None)


def test_a_certificate_too_many_or_text_around_them_is_refused(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta")}
    chain = parts["ek-certificates"]
    spare = pem(tpm.vendor.intermediate)
    for broken, check in [
        (chain + spare, "ek chain"),
        (chain + b"\n", "structure"),
        (chain.replace(b"\n", b"\r\n"), "structure"),
        (b"issuer: fake\n" + chain, "structure"),
        (pem(tpm.ek_certificate), "ek root"),
        (spare * 17, "structure"),
        (tpm.ek_certificate.public_bytes(Encoding.DER) + b"\x00", "structure"),
        (tpm.vendor.root.public_bytes(Encoding.DER) * 17, "structure"),
        (b"", "structure"),
    ]:
        assert refusal({**parts, "ek-certificates": broken}, by_challenge(tpm)) == check
