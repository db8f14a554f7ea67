"""Format `tpm`, with a made-up TPM: every check and every refusal."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.certificates import fingerprint, fingerprints
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status, Trust
from fedenclave.attestation.revocations import Revocations
from fedenclave.attestation.tpm.quote_format import FORMAT, inspect, recognise
from fedenclave.attestation.tpm.signature import Scheme, Signature, verify_signature, weakness
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.enclave.tpm import counter as enclave_counter
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.signing import key_to_text, public_key, sign
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_tpm import (
    AK_ATTRIBUTES,
    BOUND,
    ECDSA,
    EK_PURPOSE,
    MEASUREMENT,
    MEMBERS,
    NO_ALGORITHM,
    NOW,
    REPORT_DATA,
    RSAPSS,
    RSASSA,
    FakeTpm,
    attest,
    boot_log,
    by_challenge,
    ec_key,
    name_of,
    pem,
    policy,
    public_area,
    quote_body,
    rsa_key,
    selection,
    signature_of,
    sized,
    tpm_names,
    u16,
    u32,
    usage,
    vendor_of,
)
from tests.attestation.second_spelling import revoking

UNMEASURED_BOOT = '["unmeasured-boot"]'


@pytest.fixture(scope="module")
def tpm() -> FakeTpm:
    return FakeTpm()


def appraise(
    parts: Parts,
    text: str,
    *,
    bound: bytes = BOUND,
    now: int = NOW,
    collateral: dict[str, bytes] | None = None,
    revocations: Revocations | None = None,
) -> Appraisal:
    files = vendor_of().collateral() if collateral is None else collateral
    return appraise_parts(
        parts,
        read_format_policy(FORMAT, parse(text.encode(), "policy")),
        Question(
            bound=bound,
            now=now,
            freshness_seconds=600,
            collateral=from_mapping(files, fetched=NOW),
            collateral_max_age_seconds=0,
        ),
        revocations,
    )


def refusal(parts: Parts, text: str, **question: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as refused:
        appraise(parts, text, **question)
    return next(check.name for check in refused.value.checks if not check.holds)


def found(parts: Parts, text: str, **question: Any) -> str:
    """Return what the first check that fails found."""
    with pytest.raises(EvidenceRefused) as refused:
        appraise(parts, text, **question)
    return next(check.found for check in refused.value.checks if not check.holds)


# What is affirmed


@pytest.mark.parametrize(
    "keys",
    [
        {"ak_key": ec_key()},
        {"ak_key": ec_key(5, ec.SECP384R1), "hash_": "sha384"},
        {"ak_key": rsa_key(), "scheme": RSASSA},
        {"ak_key": rsa_key(), "scheme": RSAPSS, "hash_": "sha384"},
    ],
    ids=["p256", "p384", "rsassa", "rsapss"],
)
def test_a_quote_by_a_listed_key_of_each_kind_is_affirmed(keys: dict[str, Any]) -> None:
    tpm = FakeTpm(**keys)
    appraisal = appraise(tpm.parts(), policy(tpm))
    assert appraisal.status is Status.AFFIRMING
    assert set(appraisal.vector) == {Trust.INSTANCE_IDENTITY, Trust.EXECUTABLES, Trust.HARDWARE}
    assert appraisal.claims.identifiers == {
        "measurement": (MEASUREMENT.hex(),),
        "attestation-key": (tpm.name.hex(),),
    }
    assert appraisal.claims.levels == {"firmware-version": 0x2024010100123400}


def test_everything_together_is_affirmed_and_claimed(tpm: FakeTpm) -> None:
    parts = {
        **tpm.parts(),
        **tpm.endorsed("alpha", "gamma"),
        **tpm.counter(),
        "event-log": tpm.log.to_bytes(),
    }
    loader = hashlib.sha256(b"shim").hexdigest()
    text = by_challenge(
        tpm,
        aks=f'["{tpm.name.hex()}"]',
        secure_boot='"on"',
        boot_applications=f'["{loader}"]',
        counter_name=f'"{tpm.counter_name.hex()}"',
    )
    claims = appraise(parts, text).claims
    assert claims.claims["secure-boot"] is True
    assert claims.claims["boot-applications"] == [loader]
    assert [v["name"] for v in claims.claims["boot-variables"]] == ["BootOrder"]  # type: ignore[attr-defined]
    assert (claims.claims["counter"], claims.claims["tpm-model"]) == (41, "fake")
    assert (claims.claims["reset-count"], claims.claims["clock-safe"]) == (7, True)
    used = (tpm.ek_certificate, tpm.vendor.intermediate, tpm.vendor.root)
    assert claims.identifiers["certificate"] == fingerprints(*used)
    assert set(map(fingerprint, used)) < set(claims.identifiers["certificate"])
    assert len(claims.identifiers["chip-id"]) == 1


def test_without_a_pinned_measurement_the_registers_pinned_by_value_identify_the_code(
    tpm: FakeTpm,
) -> None:
    text = policy(tpm, measurements='["none"]')
    claims = appraise(tpm.parts(), text).claims
    pinned = hashlib.sha256(b"".join(tpm.values[i] for i in (0, 4, 7))).hexdigest()
    assert claims.identifiers["measurement"] == (pinned,)
    # A register that may have any value identifies nothing.
    claims = appraise(tpm.parts(), text + '11 = ["any"]\n').claims
    assert claims.identifiers["measurement"] == (pinned,)


@pytest.mark.parametrize("added", [{16: b"\x16" * 32}, {23: bytes(32)}, {11: b"\x99" * 32}])
def test_a_revoked_measurement_stays_revoked_whatever_else_the_operator_has_quoted(
    added: dict[int, bytes],
) -> None:
    tpm = FakeTpm(selected=(0, 4, 7))
    text = policy(tpm, measurements='["none"]')
    reported = appraise(tpm.parts(), text).claims.identifiers["measurement"][0]
    tpm.values |= added
    assert appraise(tpm.parts(), text)
    listed = revoking("tpm", "measurement", reported)
    assert refusal(tpm.parts(), text, revocations=listed) == "revoked measurement"


def test_the_binding_is_the_digest_of_the_report_data() -> None:
    assert FORMAT.bind(REPORT_DATA) == hashlib.sha256(REPORT_DATA).digest() == BOUND


# The key


@pytest.mark.parametrize("bit", [1, 4, 5, 16, 18])
def test_a_key_that_lacks_an_attribute_of_an_attestation_key_is_refused(bit: int) -> None:
    tpm = FakeTpm()
    tpm.ak = public_area(tpm.ak_key, attributes=AK_ATTRIBUTES & ~(1 << bit))
    assert refusal(tpm.parts(), policy(tpm)) == "ak attributes"


@pytest.mark.parametrize("bit", [11, 17, 19])
def test_a_key_that_may_do_more_than_attest_is_refused(bit: int) -> None:
    tpm = FakeTpm()
    tpm.ak = public_area(tpm.ak_key, attributes=AK_ATTRIBUTES | 1 << bit)
    assert refusal(tpm.parts(), policy(tpm)) == "ak attributes"


@pytest.mark.parametrize(
    "fields", [{"scheme": NO_ALGORITHM}, {"symmetric": u16(6) + u16(128) + u16(0x43)}]
)
def test_a_key_without_a_scheme_of_its_own_is_refused(fields: dict[str, Any]) -> None:
    tpm = FakeTpm()
    tpm.ak = public_area(tpm.ak_key, **fields)
    assert refusal(tpm.parts(), policy(tpm)) == "ak attributes"


@pytest.mark.parametrize(
    "area",
    [
        public_area(rsa_key(9)),
        public_area(ec_key(6, ec.SECP521R1)),
        public_area(ec_key(), hash_="sha1"),
        public_area(ec_key(), name_hash="sha1"),
        public_area(ec_key(), scheme=RSASSA),
        public_area(ec_key(), scheme=0x001A),
        public_area(ec_key(), attributes=AK_ATTRIBUTES | 1 << 31),
        public_area(ec_key()) + b"\x00",
        public_area(ec_key())[:-1] + b"\x00",
        public_area(ec_key(), symmetric=u16(0x26)),
        b"\x00\x08" + public_area(ec_key())[2:],
        public_area(ec_key())[:8] + sized(b"short") + public_area(ec_key())[10:],
        public_area(rsa_key()).replace(u16(2048) + u32(0), u16(2048) + u32(3)),
        public_area(rsa_key()).replace(u16(2048) + u32(0), u16(3072) + u32(0)),
        public_area(rsa_key())[:-256] + bytes(256),
    ],
    ids=[
        "rsa-1024",
        "p521",
        "sha-1 scheme",
        "sha-1 name",
        "rsa scheme on ecc",
        "ecdaa",
        "reserved attribute",
        "trailing byte",
        "point off the curve",
        "other cipher",
        "keyed hash",
        "odd policy",
        "exponent 3",
        "length of modulus",
        "modulus of zeros",
    ],
)
def test_a_key_that_is_weak_or_unknown_does_not_parse(area: bytes) -> None:
    tpm = FakeTpm()
    tpm.ak = area
    assert refusal(tpm.parts(), policy(FakeTpm())) == "structure"


def test_a_key_that_is_not_listed_is_refused(tpm: FakeTpm) -> None:
    assert refusal(FakeTpm(ak_key=ec_key(7)).parts(), policy(tpm)) == "ak"


# The quote


def test_a_signature_by_another_key_is_refused(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), "signature": FakeTpm(ak_key=ec_key(7)).parts()["signature"]}
    assert refusal(parts, policy(tpm)) == "signature"


def test_a_signature_by_another_scheme_than_the_keys_is_refused() -> None:
    tpm = FakeTpm(ak_key=rsa_key(), scheme=RSASSA)
    quote = tpm.parts()["quote"]
    parts = {**tpm.parts(), "signature": signature_of(tpm.ak_key, quote, scheme=RSAPSS)}
    assert refusal(parts, policy(tpm)) == "signature"
    parts["signature"] = signature_of(tpm.ak_key, quote, hash_="sha384")
    assert refusal(parts, policy(tpm)) == "signature"
    parts["signature"] = u16(ECDSA) + u16(0x0B) + sized(b"\x01") + sized(b"\x01")
    assert refusal(parts, policy(tpm)) == "signature"


@pytest.mark.parametrize(
    "signature",
    [
        u16(ECDSA) + u16(0x0004) + sized(bytes(32)) * 2,
        u16(0x001A) + u16(0x000B) + sized(bytes(32)) * 2,
        u16(ECDSA) + u16(0x000B) + sized(b"") * 2,
        u16(ECDSA) + u16(0x000B) + sized(bytes(49)) * 2,
        u16(ECDSA) + u16(0x000B) + sized(bytes(32)) * 3,
    ],
    ids=["sha-1", "ecdaa", "empty", "too long", "trailing"],
)
def test_a_signature_that_is_weak_or_unknown_does_not_parse(tpm: FakeTpm, signature: bytes) -> None:
    assert refusal({**tpm.parts(), "signature": signature}, policy(tpm)) == "structure"


def test_a_structure_that_the_tpm_did_not_generate_is_refused(tpm: FakeTpm) -> None:
    assert refusal(tpm.parts(magic=b"\xffTCH"), policy(tpm)) == "structure"


@pytest.mark.parametrize("kind", [0x8014, 0x8015, 0x8017, 0x8018, 0x8019, 0x801A, 0x801C])
def test_a_structure_of_another_kind_is_no_quote(tpm: FakeTpm, kind: int) -> None:
    name = sized(tpm.name)
    body = {0x8014: name + u16(0) + sized(bytes(8)), 0x8017: name + name}.get(kind, b"")
    parts = {**tpm.parts(), **tpm.signed(attest(kind, body))}
    expected = "pcr selection" if kind == 0x8014 else "structure"
    assert refusal(parts, policy(tpm)) == expected


@pytest.mark.parametrize(
    "body",
    [
        lambda v: u32(0) + sized(hashlib.sha256().digest()),
        lambda v: quote_body(v, bank="sha384"),
        lambda v: u32(2) + selection((0,)) + quote_body(v)[4:],
    ],
    ids=["nothing", "another bank", "two banks"],
)
def test_a_quote_of_other_registers_than_one_banks_is_refused(
    tpm: FakeTpm, body: Callable[[dict[int, bytes]], bytes]
) -> None:
    parts = {**tpm.parts(), **tpm.signed(attest(0x8018, body(tpm.values)))}
    assert refusal(parts, policy(tpm)) == "pcr selection"


@pytest.mark.parametrize(
    "body",
    [
        lambda v: u32(1) + u16(0x12) + quote_body(v)[6:],
        lambda v: u32(17) + selection((0,)) * 17 + sized(bytes(32)),
        lambda v: u32(1) + u16(0x0B) + b"\x04" + u32(1) + sized(bytes(32)),
        lambda v: u32(1) + u16(0x0B) + b"\x05" + bytes(5) + sized(bytes(32)),
        lambda v: u32(1) + selection((0,)) + sized(bytes(65)),
        lambda v: quote_body(v) + b"\x00",
    ],
    ids=["unknown bank", "many banks", "pcr 24", "long selection", "long digest", "trailing"],
)
def test_a_quote_with_a_body_that_cannot_be_does_not_parse(
    tpm: FakeTpm, body: Callable[[dict[int, bytes]], bytes]
) -> None:
    parts = {**tpm.parts(), **tpm.signed(attest(0x8018, body(tpm.values)))}
    assert refusal(parts, policy(tpm)) == "structure"


@pytest.mark.parametrize("fields", [{"safe": 2}, {"extra": bytes(67)}])
def test_a_field_out_of_range_does_not_parse(tpm: FakeTpm, fields: dict[str, Any]) -> None:
    assert refusal(tpm.parts(**fields), policy(tpm)) == "structure"


def test_register_values_that_were_not_quoted_are_refused(tpm: FakeTpm) -> None:
    parts = tpm.parts()
    parts["pcrs"] = parts["pcrs"][:-32] + bytes(32)
    assert refusal(parts, policy(tpm)) == "pcr digest"
    parts["pcrs"] = parts["pcrs"][:-1]
    assert refusal(parts, policy(tpm)) == "structure"


@pytest.mark.parametrize("bound", [bytes(32), REPORT_DATA, b""])
def test_a_quote_for_another_nonce_key_or_manifest_is_refused(tpm: FakeTpm, bound: bytes) -> None:
    assert refusal(tpm.parts(), policy(tpm), bound=bound) == "report data"


def test_another_firmware_of_the_tpm_is_refused(tpm: FakeTpm) -> None:
    assert refusal(tpm.parts(firmware=1), policy(tpm)) == "firmware version"
    assert appraise(tpm.parts(firmware=1), policy(tpm, firmware_versions='["any"]'))


# The registers


def test_a_register_with_another_value_is_refused(tpm: FakeTpm) -> None:
    changed = FakeTpm(log=boot_log(loader=b"another loader"))
    assert refusal(changed.parts(), policy(tpm)) == "pcr 4"


def test_a_pinned_register_that_is_not_quoted_is_refused(tpm: FakeTpm) -> None:
    for pin in ("any", "00" * 32):
        assert refusal(tpm.parts(), policy(tpm) + f'8 = ["{pin}"]\n') == "pcr 8"
    assert appraise(tpm.parts(), policy(tpm) + '1 = ["any"]\n')


@pytest.mark.parametrize(
    "register",
    [
        bytes(32),
        MEASUREMENT,
        hashlib.sha256(hashlib.sha256(bytes(32) + MEASUREMENT).digest() + MEASUREMENT).digest(),
    ],
    ids=["nothing", "not extended", "twice"],
)
def test_a_measurement_that_was_not_extended_once_from_zero_is_refused(register: bytes) -> None:
    tpm = FakeTpm()
    tpm.values[11] = register
    assert refusal(tpm.parts(), policy(tpm)) == "measurement"


def test_a_measurement_whose_register_is_not_quoted_is_refused() -> None:
    tpm = FakeTpm(selected=(0, 4, 7))
    assert refusal(tpm.parts(), policy(tpm)) == "measurement"
    assert appraise(tpm.parts(), policy(tpm, measurements='["none"]'))


# The event log


def with_log(tpm: FakeTpm) -> dict[str, bytes]:
    return {**tpm.parts(), "event-log": tpm.log.to_bytes()}


def firmware_alone(tpm: FakeTpm) -> str:
    return f'0 = ["{tpm.values[0].hex()}"]\n'


def test_a_log_that_leads_elsewhere_is_refused(tpm: FakeTpm) -> None:
    parts = {**tpm.parts(), "event-log": boot_log(loader=b"another").to_bytes()}
    assert refusal(parts, policy(tpm)) == "event log"


def test_a_log_without_digests_of_the_quoted_bank_is_refused(tpm: FakeTpm) -> None:
    log = boot_log()
    log.banks, log.events = ("sha1",), []
    log.add(0, 8, b"firmware")
    assert refusal({**tpm.parts(), "event-log": log.to_bytes()}, policy(tpm)) == "structure"


@pytest.mark.parametrize(
    "pin", [{"secure_boot": '"on"'}, {"boot_applications": f'["{"00" * 32}"]'}]
)
def test_a_pin_that_needs_a_log_refuses_without_one(tpm: FakeTpm, pin: dict[str, str]) -> None:
    assert refusal(tpm.parts(), policy(tpm, **pin)) == "parts for this policy"


def test_secure_boot_that_is_off_is_refused() -> None:
    tpm = FakeTpm(log=boot_log(secure_boot=False))
    text = policy(tpm, secure_boot='"on"')
    assert (refusal(with_log(tpm), text), found(with_log(tpm), text)) == ("secure boot", "off")


def test_secure_boot_claimed_by_a_later_event_is_refused() -> None:
    log = boot_log(secure_boot=False)
    honest = boot_log(secure_boot=True)
    # The operator extends PCR 7 with the right thing afterwards, and calls the first event another.
    on = honest.events[2]
    log.events[2] = log.events[2][:4] + (0xD).to_bytes(4, "little") + log.events[2][8:]
    log.events.append(on)
    digest = hashlib.sha256(on[-(32 + 20 + 1) :]).digest()
    log.registers[7] = hashlib.sha256(log.registers[7] + digest).digest()
    tpm = FakeTpm(log=log)
    text = policy(tpm, secure_boot='"on"')
    # Its data still says off, whatever the event is called.
    assert (refusal(with_log(tpm), text), found(with_log(tpm), text)) == ("secure boot", "off")


def test_secure_boot_is_not_known_from_data_that_was_not_measured() -> None:
    log = boot_log(secure_boot=False)
    log.events[2] = log.events[2][:-1] + b"\x01"
    tpm = FakeTpm(log=log)
    assert refusal(with_log(tpm), policy(tpm, secure_boot='"on"')) == "secure boot"
    assert appraise(with_log(tpm), policy(tpm)).claims.claims["secure-boot"] == "unknown"


def test_secure_boot_is_not_known_where_its_register_is_not_quoted() -> None:
    tpm = FakeTpm(selected=(0, 4, 11))
    text = policy(tpm, secure_boot='"on"', pcrs=firmware_alone(tpm), exceptions=UNMEASURED_BOOT)
    assert refusal(with_log(tpm), text) == "secure boot"


def test_a_boot_application_that_is_not_pinned_is_refused_whatever_the_log_calls_it() -> None:
    log = boot_log()
    log.add(4, 0x80000007, b"only an action", b"malware")
    tpm = FakeTpm(log=log)
    loader = hashlib.sha256(b"shim").hexdigest()
    text = policy(tpm, boot_applications=f'["{loader}"]')
    assert refusal(with_log(tpm), text) == "boot applications"
    assert hashlib.sha256(b"malware").hexdigest() in found(with_log(tpm), text)


def test_boot_applications_are_not_known_where_their_register_is_not_quoted() -> None:
    tpm = FakeTpm(selected=(0, 7, 11))
    loader = hashlib.sha256(b"shim").hexdigest()
    pins = {"boot_applications": f'["{loader}"]', "pcrs": firmware_alone(tpm)}
    assert refusal(with_log(tpm), policy(tpm, **pins)) == "measured boot"
    text = policy(tpm, **pins, exceptions=UNMEASURED_BOOT)
    assert refusal(with_log(tpm), text) == "boot applications"


def test_nothing_is_claimed_from_registers_that_are_not_quoted() -> None:
    tpm = FakeTpm(selected=(0, 11))
    text = policy(tpm, pcrs=firmware_alone(tpm), exceptions=UNMEASURED_BOOT)
    claims = appraise(with_log(tpm), text)
    assert not {"secure-boot", "boot-applications", "boot-variables"} & set(claims.claims.claims)


# Endorsement keys and the members' word


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


# The counter


def counted(tpm: FakeTpm, **fields: Any) -> dict[str, bytes]:
    return {**tpm.parts(), **tpm.counter(**fields)}


def counter_policy(tpm: FakeTpm) -> str:
    return policy(tpm, counter_name=f'"{tpm.counter_name.hex()}"')


def test_a_counter_is_claimed(tpm: FakeTpm) -> None:
    for text in (counter_policy(tpm), policy(tpm)):
        assert appraise(counted(tpm, value=2**40), text).claims.claims["counter"] == 2**40


def test_a_pinned_counter_that_is_not_there_is_refused(tpm: FakeTpm) -> None:
    assert refusal(tpm.parts(), counter_policy(tpm)) == "parts for this policy"
    for part in ("counter", "counter-signature"):
        parts = {name: data for name, data in counted(tpm).items() if name != part}
        assert refusal(parts, policy(tpm)) == "parts for this policy"


def test_a_counter_by_another_key_is_refused(tpm: FakeTpm) -> None:
    other = FakeTpm(ak_key=ec_key(7))
    assert refusal({**tpm.parts(), **other.counter()}, policy(tpm)) == "counter signature"


def test_a_counter_for_another_nonce_is_refused(tpm: FakeTpm) -> None:
    for text in (counter_policy(tpm), policy(tpm)):
        assert refusal(counted(tpm, extra=bytes(32)), text) == "counter report data"


def test_a_counter_of_another_start_is_refused(tpm: FakeTpm) -> None:
    assert refusal(counted(tpm, resets=6), policy(tpm)) == "counter start"


def test_another_index_is_refused(tpm: FakeTpm) -> None:
    text = policy(tpm, counter_name=f'"000b{"00" * 32}"')
    assert refusal(counted(tpm), text) == "counter"


@pytest.mark.parametrize(
    "body",
    [
        sized(FakeTpm.counter_name) + u16(1) + sized(bytes(8)),
        sized(FakeTpm.counter_name) + u16(0) + sized(bytes(7)),
        None,
    ],
    ids=["offset", "short", "a quote"],
)
def test_a_certificate_of_something_else_is_no_counter(tpm: FakeTpm, body: bytes | None) -> None:
    message = attest(0x8014, body) if body else tpm.parts()["quote"]
    parts = {**tpm.parts(), "counter": message, "counter-signature": tpm.sign(message)}
    assert refusal(parts, policy(tpm)) == "counter contents"


# The policy


def test_the_template_reads_and_names_the_enclaves_counter() -> None:
    assert enclave_counter.NAME.hex() in FORMAT.template
    table = parse(FORMAT.template.encode(), "policy").take_table("attestation").take_table("tpm")
    assert read_format_policy(FORMAT, table).exceptions == frozenset()


ALPHA = key_to_text(public_key(MEMBERS["alpha"]))


@pytest.mark.parametrize(
    "changed",
    [
        {"aks": '["none"]'},
        {"aks": "[]"},
        {"aks": '["00"]'},
        {"activated_by": "1"},
        {"activated_by": "1", "activators": f'["{ALPHA}"]'},
        {"activators": f'["{ALPHA}"]'},
        {"ek_roots": f'["{"00" * 32}"]'},
        {"activated_by": "2", "activators": f'["{ALPHA}"]', "ek_roots": f'["{"00" * 32}"]'},
        {
            "activated_by": "2",
            "activators": f'["{ALPHA}", "{ALPHA}"]',
            "ek_roots": f'["{"00" * 32}"]',
        },
        {"activated_by": "1", "activators": "[]", "ek_roots": f'["{"00" * 32}"]'},
        {"activated_by": "1", "activators": '["alpha"]', "ek_roots": f'["{"00" * 32}"]'},
        {"activated_by": "-1"},
        {"measurements": "[]"},
        {"measurements": '["any"]'},
        {"firmware_versions": "[]"},
        {"firmware_versions": '["1"]'},
        {"secure_boot": '"off"'},
        {"secure_boot": "true"},
        {"boot_applications": "[]"},
        {"counter_name": '""'},
        {"counter_name": '"any"'},
        {"measurements": '["none"]', "pcrs": '0 = ["any"]\n'},
        {"pcrs": "\n"},
        {"pcrs": f'0 = ["{"00" * 32}"]\n16 = ["{"00" * 32}"]\n'},
        {"pcrs": f'0 = ["{"00" * 32}"]\n23 = ["{"00" * 32}"]\n'},
        {"pcrs": '24 = ["any"]\n'},
        {"pcrs": '01 = ["any"]\n'},
        {"pcrs": "0 = []\n"},
        {"pcrs": '0 = ["00"]\n'},
        {"more": 'resets = "any"'},
        {"exceptions": '["debug"]'},
        *({key: ""} for key in ("aks", "activated_by", "activators", "ek_roots", "measurements")),
        *({key: ""} for key in ("firmware_versions", "secure_boot", "boot_applications")),
        {"counter_name": ""},
    ],
    ids=lambda changed: " ".join(f"{key}={value}" for key, value in changed.items())[:50],
)
def test_a_policy_with_a_missing_unknown_or_contradictory_pin_is_refused(
    tpm: FakeTpm, changed: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError):
        read_format_policy(FORMAT, parse(policy(tpm, **changed).encode(), "policy"))


@pytest.mark.parametrize(
    "registers",
    [
        '0 = ["any"]\n',
        f'0 = ["any"]\n8 = ["{"42" * 32}"]\n9 = ["{"42" * 32}"]\n',
        f'11 = ["{"42" * 32}"]\n',
        f'4 = ["any"]\n17 = ["{"ff" * 32}"]\n',
    ],
    ids=["any value", "the boot loader's alone", "the enclave's alone", "a dynamic launch"],
)
@pytest.mark.parametrize("measurements", ['["none"]', f'["{MEASUREMENT.hex()}"]'])
def test_pins_that_software_alone_can_satisfy_are_no_policy(
    tpm: FakeTpm, registers: str, measurements: str
) -> None:
    text = policy(tpm, pcrs=registers, measurements=measurements)
    with pytest.raises(ConfigurationError, match="none of pcr 0 to 7"):
        read_format_policy(FORMAT, parse(text.encode(), "policy"))


# Every byte


def everything() -> tuple[dict[str, bytes], str]:
    tpm = FakeTpm()
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta"), **tpm.counter()}
    counter = f'"{tpm.counter_name.hex()}"'
    return parts, by_challenge(tpm, aks=f'["{tpm.name.hex()}"]', counter_name=counter)


@pytest.mark.parametrize("name", sorted(everything()[0]))
def test_one_changed_byte_in_any_part_is_refused(name: str) -> None:
    parts, text = everything()
    data = parts[name]
    for at in range(0, len(data), 1 + len(data) // 300):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        with pytest.raises(EvidenceRefused):
            appraise({**parts, name: bytes(changed)}, text)


def test_one_changed_byte_in_the_log_adds_no_claim(tpm: FakeTpm) -> None:
    parts = with_log(tpm)
    text = policy(tpm)
    truth = appraise(parts, text).claims.claims
    data = parts["event-log"]
    for at in range(0, len(data), 2):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            claims = appraise({**parts, "event-log": bytes(changed)}, text).claims.claims
        except EvidenceRefused:
            continue
        # What no digest covers may change; then a fact can be lost, and none is made up.
        for name, value in claims.items():
            assert value == truth[name] or value == "unknown" or value == []


@given(st.sampled_from(sorted(everything()[0])), st.binary(max_size=400))
def test_random_bytes_are_refused_and_nothing_else(name: str, data: bytes) -> None:
    parts, text = everything()
    with pytest.raises(EvidenceRefused):
        appraise({**parts, name: data}, text)
    with contextlib.suppress(MalformedMessage):
        inspect({**parts, name: data})


# For people


def test_inspect_tells_what_the_parts_say(tpm: FakeTpm) -> None:
    parts = {**with_log(tpm), **tpm.endorsed("alpha"), **tpm.counter()}
    told = inspect(parts)
    assert told["attestation-key"] == tpm.name.hex()
    assert told["report-data"] == BOUND.hex()
    assert (told["secure-boot"], told["counter"]) == (True, 41)
    assert len(told["ek-certificates"]) == 2  # type: ignore[arg-type]
    assert inspect({}) == {}


def test_a_file_of_the_tpm2_tools_is_recognised(tpm: FakeTpm) -> None:
    quote = tpm.parts()["quote"]
    assert recognise(quote) == {"quote": quote}
    assert inspect({"quote": quote})["reset-count"] == 7
    assert recognise(tpm.counter()["counter"]) is None
    assert recognise(quote[:-1]) is None
    assert recognise(b"{}") is None


def test_the_checks_that_are_always_made_are_made(tpm: FakeTpm) -> None:
    made = {check.name for check in appraise(tpm.parts(), policy(tpm)).checks}
    assert FORMAT.always <= made
    assert "report data" in replace(FORMAT).always
