"""SGX evidence: what a policy pins, and what it refuses. test_intel_*.py have what TDX shares."""

from __future__ import annotations

import pytest

from fedenclave.attestation.intel import sgx
from fedenclave.attestation.result import EvidenceRefused, Status, Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from tests.attestation.intel_appraisal import (
    BOUND,
    INTEL,
    SGX,
    first_failure,
    judge,
    policy,
    without,
)


def quote(**report: object) -> bytes:
    return INTEL.sgx_quote(**{"report_data": BOUND} | report)


def test_an_enclave_that_satisfies_every_pin_is_affirmed() -> None:
    result = judge(SGX, quote())
    assert result.status is Status.AFFIRMING
    assert result.vector == dict.fromkeys(
        (
            Trust.INSTANCE_IDENTITY,
            Trust.CONFIGURATION,
            Trust.HARDWARE,
            Trust.EXECUTABLES,
        ),
        2,
    )
    assert result.claims.identifiers["measurement"] == ("11" * 32,)
    assert result.claims.identifiers["mrsigner"] == ("22" * 32,)
    assert result.claims.levels["isv-svn"] == 3
    # Four certificates by ECDSA, each in two spellings.
    assert len(result.claims.identifiers["certificate"]) == 8


@pytest.mark.parametrize(
    ("report", "check"),
    [
        ({"report_data": bytes(64)}, "report data"),
        ({"flags": 0x07}, "debug"),
        ({"flags": 0x01}, "mode"),
        ({"flags": 0x04}, "mode"),
        ({"flags": 0x85}, "flags"),
        ({"flags": 0x15}, "flags"),
        ({"mrenclave": bytes(32)}, "mrenclave"),
        ({"mrsigner": bytes(32)}, "mrsigner"),
        ({"isv_prod_id": 8}, "isv prod id"),
        ({"isv_svn": 2}, "isv svn"),
        ({"ext_prod_id": b"\x01" * 16}, "isv ext prod id"),
        ({"family_id": b"\x01" * 16}, "isv family id"),
        ({"config_id": b"\x01" * 64}, "config id"),
        ({"config_svn": 9}, "config svn"),
        ({"misc_select": b"\x01\x00\x00\x00"}, "misc select"),
        ({"reserved": b"\x01" + bytes(11)}, "structure"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_enclave_that_differs_in_a_pin_is_refused(report: dict, check: str) -> None:
    assert first_failure(SGX, quote(**report)) == check


def test_an_enclave_may_be_pinned_by_its_signer_alone() -> None:
    pins = policy(SGX, mrenclave=["any"])
    assert judge(SGX, quote(mrenclave=bytes(32)), pins=pins).status is Status.AFFIRMING
    assert first_failure(SGX, quote(mrsigner=bytes(32)), pins=pins) == "mrsigner"


@pytest.mark.parametrize(
    ("report", "check"),
    [
        ({"isv_prod_id": 8}, "isv prod id"),
        ({"ext_prod_id": b"\x01" * 16}, "isv ext prod id"),
        ({"family_id": b"\x02" * 16}, "isv family id"),
        ({"config_svn": 9}, "config svn"),
    ],
)
def test_another_enclave_of_the_same_signer_is_refused(report: dict, check: str) -> None:
    pins = policy(SGX, mrenclave=["any"])
    assert first_failure(SGX, quote(mrenclave=b"\x98" * 32, **report), pins=pins) == check


IDS = {"isv_ext_prod_id": "01" * 16, "isv_family_id": "02" * 16, "config_svn": "9"}


@pytest.mark.parametrize("key", IDS)
def test_ids_of_a_signer_need_not_be_pinned_only_where_the_enclave_is(key: str) -> None:
    evidence = quote(ext_prod_id=b"\x01" * 16, family_id=b"\x02" * 16, config_svn=9)
    given = {name: [value] for name, value in IDS.items()} | {key: ["any"]}
    assert judge(SGX, evidence, pins=policy(SGX, **given)).status is Status.AFFIRMING
    with pytest.raises(ConfigurationError, match=f"any mrenclave and any {key}"):
        policy(SGX, mrenclave=["any"], **given)


def test_the_processor_extensions_can_be_pinned() -> None:
    pins = policy(SGX, xfrm=["0700000000000000"])
    assert first_failure(SGX, quote(), pins=pins) == "xfrm"


def test_a_debug_enclave_passes_only_where_debug_is_excepted_and_pinned() -> None:
    debug = quote(flags=0x07)
    assert first_failure(SGX, debug, pins=policy(SGX, flags=["0700000000000000"])) == "debug"
    pins = policy(SGX, exceptions=["debug"])
    assert first_failure(SGX, debug, pins=pins) == "flags"
    pins = policy(SGX, exceptions=["debug"], flags=["0700000000000000"])
    result = judge(SGX, debug, pins=pins)
    assert result.status is Status.WARNING
    assert result.claims.claims["dbgstat"] == "enabled"
    assert result.vector[Trust.CONFIGURATION] == 32


def test_every_reason_is_told_at_once() -> None:
    with pytest.raises(EvidenceRefused) as caught:
        judge(SGX, quote(mrenclave=bytes(32), isv_svn=0, flags=0x07))
    failed = {check.name for check in caught.value.checks if not check.holds}
    assert failed == {"debug", "mrenclave", "isv svn", "flags"}


@pytest.mark.parametrize("version", [1, 2, 4, 5])
def test_another_version_is_refused(version: int) -> None:
    changed = version.to_bytes(2, "little") + quote()[2:]
    assert first_failure(SGX, changed) == "structure"


def test_a_td_quote_is_no_enclaves_quote() -> None:
    assert first_failure(SGX, INTEL.td_quote(report_data=BOUND)) == "structure"


@pytest.mark.parametrize("parts", [{}, {"quote": b"", "event-log": b""}])
def test_parts_that_the_format_does_not_have_are_refused(parts: dict) -> None:
    assert first_failure(SGX, parts) == "parts"


@pytest.mark.parametrize(
    "changes",
    [
        {"mrenclave": ["any"], "mrsigner": ["any"]},
        {"mrenclave": []},
        {"mrenclave": ["11"]},
        {"mrenclave": ["AA" * 32]},
        {"mrenclave": "11" * 32},
        {"isv_prod_id": 2**16},
        {"min_isv_svn": -1},
        {"config_id": ""},
        {"config_svn": []},
        {"config_svn": ["-1"]},
        {"config_svn": ["01"]},
        {"config_svn": ["65536"]},
        {"config_svn": ["any", "1"]},
        {"isv_ext_prod_id": []},
        {"isv_family_id": ["00" * 15]},
        {"flags": ["any"]},
        {"misc_select": []},
        {"platforms": []},
        {"platforms": ["00"]},
        {"min_tcb_evaluation_data_number": 0},
        {"advisories": ["SA-00615"]},
        {"exceptions": ["revoked"]},
        {"exceptions": ["migratable"]},
        {"exceptions": ["td-relaunch-advised"]},
        {"surplus": 1},
    ],
    ids=str,
)
def test_a_policy_with_a_wrong_pin_is_an_error(changes: dict) -> None:
    with pytest.raises(ConfigurationError):
        policy(SGX, **changes)


@pytest.mark.parametrize("key", without(SGX))
def test_every_pin_is_needed(key: str) -> None:
    with pytest.raises(ConfigurationError):
        policy(SGX, without=key)


def test_a_quote_is_recognised_by_its_header() -> None:
    evidence = quote()
    assert sgx.FORMAT.recognise(evidence) == {"quote": evidence}
    for other in (b"", b"\x03\x00", INTEL.td_quote(), evidence[:100], b"{}" * 500):
        assert sgx.FORMAT.recognise(other) is None


def test_a_quote_can_be_read_without_any_check() -> None:
    claims = sgx.FORMAT.inspect({"quote": quote(flags=0x07)})
    assert claims["mrenclave"] == "11" * 32
    assert claims["dbgstat"] == "enabled"
    assert claims["fmspc"] == "b0c06f000000"
    no_chain = INTEL.sgx_quote(quoted={"certification_type": 1})
    assert sgx.FORMAT.inspect({"quote": no_chain})["certification-data-type"] == 1
    with pytest.raises(MalformedMessage):
        sgx.FORMAT.inspect({"quote": b""})
