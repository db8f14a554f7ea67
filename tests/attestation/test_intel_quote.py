"""SGX and TDX quotes: the quoting enclave, the structure, and what the library makes of them.

Told with TDX quotes of version 4, and with SGX quotes where those differ.
"""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Format
from fedenclave.attestation.intel import agreement, dcap, tdx
from fedenclave.attestation.result import Status
from tests.attestation import fake_intel as fake
from tests.attestation.fake_intel import NOW
from tests.attestation.intel_appraisal import (
    BOUND,
    INTEL,
    SGX,
    TDX,
    first_failure,
    judge,
    policy,
    question,
    td,
)

# The quoting enclave


def test_a_quoting_enclave_that_the_platform_did_not_sign_is_refused() -> None:
    forged = fake.sign(INTEL.keys["attestation"], b"another report")
    assert first_failure(TDX, td(qe_signature=forged)) == "qe report signature"


def test_an_attestation_key_that_the_quoting_enclave_did_not_vouch_for_is_refused() -> None:
    assert first_failure(TDX, td(qe={"report_data": b"\x01" * 64})) == "qe report data"


def test_a_body_that_the_attestation_key_did_not_sign_is_refused() -> None:
    forged = fake.sign(INTEL.keys["leaf"], b"another body")
    assert first_failure(TDX, td(signature=forged)) == "quote signature"


def test_zeros_are_no_signature() -> None:
    assert first_failure(TDX, td(signature=bytes(64))) == "quote signature"


def test_an_attestation_key_that_is_no_point_is_refused() -> None:
    quote = bytearray(td())
    at = 48 + 584 + 4 + 64
    key = bytes(64)
    report = fake.enclave_report(
        flags=0x11,
        mrsigner=fake.QE_SIGNER,
        isv_prod_id=2,
        isv_svn=fake.QE_SVN,
        report_data=hashlib.sha256(key + bytes(range(32))).digest() + bytes(32),
    )
    quote[at : at + 64] = key
    quote[at + 70 : at + 70 + 384] = report
    quote[at + 454 : at + 518] = fake.sign(INTEL.keys["leaf"], report)
    assert first_failure(TDX, bytes(quote)) == "structure"


@pytest.mark.parametrize(
    "qe",
    [
        {"mrsigner": bytes(32)},
        {"isv_prod_id": 1},
        {"flags": 0x13},
        {"misc_select": b"\x01\x00\x00\x00"},
    ],
    ids=["signer", "product", "debug", "misc select"],
)
def test_a_quoting_enclave_that_is_not_intels_is_refused(qe: dict) -> None:
    assert first_failure(TDX, td(qe=qe)) == "qe identity"


def test_a_quoting_enclave_below_every_level_is_refused() -> None:
    assert first_failure(TDX, td(qe={"isv_svn": 3})) == "tcb level"


# The structure of a quote


@pytest.mark.parametrize(
    "change",
    [
        (0, 3, "version"),
        (0, 6, "version"),
        (2, 3, "key type"),
        (4, 0, "tee type"),
        (8, 1, "reserved"),
        (12, 0, "vendor"),
    ],
    ids=lambda change: change[2],
)
def test_a_header_of_another_kind_is_refused(change: tuple[int, int, str]) -> None:
    quote = bytearray(td())
    quote[change[0]] = change[1]
    assert first_failure(TDX, bytes(quote)) == "structure"


def test_a_reserved_field_of_the_quoting_enclaves_report_must_be_zero() -> None:
    assert first_failure(TDX, td(qe={"reserved": b"\x01" + bytes(11)})) == "structure"


def test_zeros_after_a_quote_are_the_rest_of_a_buffer() -> None:
    assert judge(TDX, td(after=bytes(3065))).status is Status.AFFIRMING


@pytest.mark.parametrize("change", [{"after": bytes(9) + b"x"}, {"section_after": b"\x00"}])
def test_anything_else_after_a_quote_or_its_signatures_is_refused(change: dict) -> None:
    assert first_failure(TDX, td(**change)) == "structure"


def test_a_quote_that_ends_early_is_refused() -> None:
    quote = td()
    for size in (0, 1, 47, 48, 431, 632, 636, 800, len(quote) - 1):
        assert first_failure(TDX, quote[:size]) == "structure"


@pytest.mark.parametrize("format_", [SGX, TDX], ids=["sgx", "tdx"])
def test_one_changed_byte_is_never_affirmed(format_: Format) -> None:
    make = INTEL.sgx_quote if format_ is SGX else INTEL.td_quote
    quote = make(report_data=BOUND, quoted={"after": bytes(2)})
    pins = policy(format_)
    bundle = from_mapping(INTEL.collateral(format_.name.upper()), NOW)
    for at in range(len(quote)):
        changed = bytearray(quote)
        changed[at] ^= 1 << at % 8
        assert first_failure(format_, bytes(changed), pins=pins, bundle=bundle), at


@given(data=st.binary(max_size=1200))
def test_whatever_bytes_come_in_there_is_one_error(data: bytes) -> None:
    for format_, start in ((SGX, b"\x03\x00\x02\x00"), (TDX, b"\x04\x00\x02\x00\x81\x00\x00\x00")):
        assert first_failure(format_, data) == "structure"
        assert first_failure(format_, start + data) == "structure"


# The library


def test_every_difference_to_the_librarys_claims_is_found() -> None:
    bundle = from_mapping(INTEL.collateral("TDX"), NOW)
    verified = tdx.verify_td_quote(Checklist(), td(), question(bundle), INTEL.root)
    arguments = verified.endorsements.arguments
    root = INTEL.root.public_bytes(Encoding.DER)
    claims = dcap.verify_by_library(verified.quote.raw, arguments, NOW, root)
    assert agreement.differences(claims, verified) == []
    for found, changed in (
        ("status", {"tcb": claims["tcb"] | {"status": "OutOfDate"}}),
        ("advisories", {"tcb": claims["tcb"] | {"advisory_ids": ["INTEL-SA-00615"]}}),
        ("evaluation number", {"tcb": claims["tcb"] | {"eval_data_number": 18}}),
        ("report data", {"report": {"TD10": claims["report"]["TD10"] | {"report_data": ""}}}),
        ("measurement", {"report": {"TD10": claims["report"]["TD10"] | {"mr_td": ""}}}),
        ("form of its claims", {"report": {}}),
        ("form of its claims", {"tcb": None}),
    ):
        assert agreement.differences({**claims, **changed}, verified) == [found]


def test_authentication_data_of_a_length_that_the_library_does_not_know_is_refused() -> None:
    assert first_failure(TDX, td(auth_data=b"")) == "dcap-qvl"


def test_a_panic_of_the_library_is_a_refusal() -> None:
    panic = type("PanicException", (BaseException,), {})

    def panics() -> None:
        raise panic

    with pytest.raises(dcap.LibraryRefused):
        dcap._guarded(panics)


def test_an_interrupt_is_not_taken_for_a_refusal() -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dcap._guarded(interrupts)


@pytest.mark.parametrize("now", [-1, 0, 2**40, 2**70])
def test_a_time_out_of_range_is_a_refusal(now: int) -> None:
    assert first_failure(TDX, td(), now=now)
