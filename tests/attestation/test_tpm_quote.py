"""A made-up TPM's quote: the key that signs it, what is in it, and the registers it is over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.attestation.fake_event_log import boot_log
from tests.attestation.fake_tpm import MEASUREMENT, FakeTpm, policy
from tests.attestation.tpm_appraisal import appraise, refusal
from tests.attestation.tpm_structures import (
    AK_ATTRIBUTES,
    ECDSA,
    NO_ALGORITHM,
    REPORT_DATA,
    RSAPSS,
    RSASSA,
    attest,
    ec_key,
    public_area,
    quote_body,
    rsa_key,
    selection,
    signature_of,
    sized,
    u16,
    u32,
)

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
