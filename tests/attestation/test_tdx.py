"""TDX evidence: what a policy pins, and what it refuses. test_intel_*.py have what SGX shares."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.intel import tdx
from fedenclave.attestation.result import Status, Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from tests.attestation.fake_intel import TEE_SVN, level, module, svn_level, tcb_info
from tests.attestation.intel_appraisal import (
    BOUND,
    INTEL,
    TDX,
    first_failure,
    judge,
    policy,
    without,
)

TCB_INFO = "intel/tdx/tcb-info/b0c06f000000.json"


def quote(version: int = 4, **report: object) -> bytes:
    return INTEL.td_quote(version, **{"report_data": BOUND} | report)


def attributes(value: int) -> bytes:
    return value.to_bytes(8, "little")


@pytest.mark.parametrize("version", [4, 5])
def test_a_td_that_satisfies_every_pin_is_affirmed(version: int) -> None:
    result = judge(TDX, quote(version))
    assert result.status is Status.AFFIRMING
    assert result.vector[Trust.RUNTIME_OPAQUE] == 2
    assert result.claims.identifiers["measurement"] == ("44" * 48, "50" * 48, "51" * 48, "52" * 48)
    assert result.claims.identifiers["mrseam"] == ("33" * 48,)
    assert result.claims.levels["tdx-module-svn"] == 6
    assert result.claims.claims["dbgstat"] == "disabled"
    assert "events" not in result.claims.claims


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("report", "check"),
    [
        ({"report_data": bytes(64)}, "report data"),
        ({"mrtd": bytes(48)}, "mrtd"),
        ({"mrseam": bytes(48)}, "mrseam"),
        ({"rtmr0": bytes(48)}, "rtmr0"),
        ({"rtmr1": bytes(48)}, "rtmr1"),
        ({"rtmr2": bytes(48)}, "rtmr2"),
        ({"rtmr3": b"\x53" * 48}, "rtmr3"),
        ({"xfam": bytes(8)}, "xfam"),
        ({"mrconfigid": b"\x01" * 48}, "mrconfigid"),
        ({"mrowner": b"\x01" * 48}, "mrowner"),
        ({"mrownerconfig": b"\x01" * 48}, "mrownerconfig"),
        ({"td_attributes": attributes(1 << 28 | 1 << 30)}, "td attributes"),
        ({"td_attributes": attributes(1 << 28 | 1 << 63)}, "td attributes"),
        ({"mrsignerseam": b"\x01" * 48}, "tdx module"),
        ({"seam_attributes": b"\x01" + bytes(7)}, "tdx module"),
        ({"tee_tcb_svn": bytes([6, 2, 3] + [0] * 13)}, "tdx module"),
        ({"tee_tcb_svn": bytes([3, 1, 3] + [0] * 13)}, "tcb level"),
        ({"tee_tcb_svn": bytes([6, 1, 1] + [0] * 13)}, "tcb level"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_td_that_differs_in_a_pin_is_refused(version: int, report: dict, check: str) -> None:
    assert first_failure(TDX, quote(version, **report)) == check


SAFE = 1 << 28
LIFECYCLE = [
    ("debug", 4, {"td_attributes": attributes(SAFE | 1)}, "debug"),
    ("debug", 5, {"td_attributes": attributes(SAFE | 1 << 4)}, "debug"),
    ("debug", 4, {"td_attributes": attributes(SAFE | 1 << 6)}, "debug"),
    ("migratable", 4, {"td_attributes": attributes(SAFE | 1 << 29)}, "migratable"),
    ("sept ve disable", 4, {"td_attributes": attributes(0)}, "sept-ve"),
    ("service td", 5, {"mrservicetd": b"\x01" * 48}, "service-td"),
    ("service td", 5, {"td_attributes": attributes(SAFE | 1 << 17)}, "service-td"),
    ("service td", 4, {"td_attributes": attributes(SAFE | 1 << 17)}, "service-td"),
]


def pins_of(report: dict) -> dict[str, list[str]]:
    """The pins that fit a report, as they would be if they were copied from it."""
    return {
        "td_attributes": [report.get("td_attributes", attributes(SAFE)).hex()],
        "mrservicetd": [report.get("mrservicetd", bytes(48)).hex()],
    }


@pytest.mark.parametrize(("check", "version", "report", "exception"), LIFECYCLE)
def test_what_gives_a_td_away_needs_that_very_exception(
    check: str, version: int, report: dict, exception: str
) -> None:
    evidence = quote(version, **report)
    pin = pins_of(report)
    others = sorted(TDX.exceptions - {exception})
    assert first_failure(TDX, evidence, pins=policy(TDX, **pin)) == check
    assert first_failure(TDX, evidence, pins=policy(TDX, **pin, exceptions=others)) == check
    result = judge(TDX, evidence, pins=policy(TDX, **pin, exceptions=[exception]))
    assert result.status is Status.WARNING
    assert [each.name for each in result.checks if each.excepted] == [check]


@pytest.mark.parametrize(("check", "version", "report", "exception"), LIFECYCLE)
def test_what_was_excepted_is_still_judged_for_its_tcb(
    check: str, version: int, report: dict, exception: str
) -> None:
    evidence = quote(version, **report)
    pins = policy(TDX, **pins_of(report), exceptions=[exception])
    for changes, refused in (
        ({"tcbLevels": [level("OutOfDate")]}, "tcb status"),
        ({"tcbLevels": [level("Revoked")]}, "tcb level"),
        ({"tcbLevels": [level(pce_svn=12)]}, "tcb level"),
        ({"fmspc": "00" * 6}, "tcb info platform"),
    ):
        collateral = {"tcb_info": changes}
        assert first_failure(TDX, evidence, pins=pins, collateral=collateral) == refused, check


def test_the_exception_for_a_service_td_lets_none_pass_but_the_pinned_one() -> None:
    known, other = b"\x01" * 48, b"\x66" * 48
    pins = policy(TDX, exceptions=["service-td"], mrservicetd=[known.hex()])
    assert judge(TDX, quote(5, mrservicetd=known), pins=pins).status is Status.WARNING
    assert first_failure(TDX, quote(5, mrservicetd=other), pins=pins) == "mrservicetd"
    # None at all is not the pinned one either, whether or not the report has the field.
    assert first_failure(TDX, quote(5), pins=pins) == "mrservicetd"
    assert first_failure(TDX, quote(4), pins=pins) == "mrservicetd"
    excepted = policy(TDX, exceptions=["service-td"])
    assert first_failure(TDX, quote(5, mrservicetd=other), pins=excepted) == "mrservicetd"


def test_a_service_td_can_be_revoked() -> None:
    known = b"\x01" * 48
    pins = policy(TDX, exceptions=["service-td"], mrservicetd=[known.hex()])
    claims = judge(TDX, quote(5, mrservicetd=known), pins=pins).claims
    assert claims.identifiers["service-td"] == (known.hex(),)
    for version in (4, 5):
        assert judge(TDX, quote(version)).claims.identifiers["service-td"] == ("00" * 48,)


@pytest.mark.parametrize("bit", [1, 2, 3, 7, 8, 15, 23, 26, 32, 61])
def test_a_reserved_attribute_is_refused_even_if_it_is_pinned(bit: int) -> None:
    for value in (SAFE | 1 << bit, SAFE | 1 << bit | 1):
        pinned = attributes(value)
        pins = policy(TDX, td_attributes=[pinned.hex()], exceptions=sorted(TDX.exceptions))
        refused = first_failure(TDX, quote(td_attributes=pinned), pins=pins)
        assert refused == "reserved attributes"


OLD = bytes([2, 1, 3] + [0] * 13)
MODULES = {"tdxModuleIdentities": [module([svn_level(4), svn_level(2, "OutOfDate")])]}


def test_a_td_launched_before_its_module_was_updated_should_be_launched_again() -> None:
    evidence = quote(5, tee_tcb_svn=OLD, tee_tcb_svn2=TEE_SVN)
    given_ = {"collateral": {"tcb_info": MODULES}}
    assert first_failure(TDX, evidence, **given_) == "tcb status"
    pins = policy(TDX, exceptions=["tcb-out-of-date"])
    assert first_failure(TDX, evidence, pins=pins, **given_) == "tcb status"
    result = judge(TDX, evidence, pins=policy(TDX, exceptions=["td-relaunch-advised"]), **given_)
    assert result.status is Status.WARNING
    assert result.claims.claims["tcb-status"] == "TDRelaunchAdvised"
    assert result.claims.claims["tcb-status-current"] == "UpToDate"


def test_a_td_whose_current_module_is_worse_than_that_at_launch_is_refused() -> None:
    evidence = quote(5, tee_tcb_svn2=OLD)
    given_ = {"collateral": {"tcb_info": MODULES}}
    assert first_failure(TDX, evidence, **given_) == "current tcb status"


def test_a_td_whose_current_module_is_revoked_is_refused() -> None:
    revoked = {"tdxModuleIdentities": [module([svn_level(4), svn_level(2, "Revoked")])]}
    evidence = quote(5, tee_tcb_svn2=OLD)
    assert first_failure(TDX, evidence, collateral={"tcb_info": revoked}) == "tcb level"


def test_a_td_whose_current_module_intel_does_not_list_is_refused() -> None:
    assert first_failure(TDX, quote(5, tee_tcb_svn2=bytes([6, 9, 3] + [0] * 13))) == "tcb level"


def test_tcb_info_without_module_identities_knows_only_the_first_generation() -> None:
    info = tcb_info("TDX")
    del info["tdxModuleIdentities"]
    document = {TCB_INFO: INTEL.sign_document("tcbInfo", info)}
    assert first_failure(TDX, quote(), collateral=document) == "tdx module"
    evidence = quote(tee_tcb_svn=bytes([5, 0, 2] + [0] * 13))
    assert judge(TDX, evidence, collateral=document).status is Status.AFFIRMING


def test_the_first_generation_of_the_module_has_no_levels_of_its_own() -> None:
    evidence = quote(tee_tcb_svn=bytes([5, 0, 2] + [0] * 13))
    assert judge(TDX, evidence).status is Status.AFFIRMING
    evidence = quote(tee_tcb_svn=bytes([4, 0, 2] + [0] * 13))
    assert first_failure(TDX, evidence) == "tcb level"


@pytest.mark.parametrize(
    ("body_type", "size"), [(1, 648), (2, 648), (4, 648), (4, 885), (3, 584), (3, 649)]
)
def test_a_body_of_another_type_or_size_is_refused(body_type: int, size: int) -> None:
    changed = bytearray(quote(5))
    changed[48:54] = body_type.to_bytes(2, "little") + size.to_bytes(4, "little")
    assert first_failure(TDX, bytes(changed)) == "structure"


def test_an_enclaves_quote_is_no_tds_quote() -> None:
    assert first_failure(TDX, INTEL.sgx_quote(report_data=BOUND)) == "structure"


# The event log


def log_of(*events: tuple[int, bytes], fill: bytes = b"\xff" * 64) -> bytes:
    """A crypto-agile log with SHA-384 only: register and data of each event."""
    spec = b"Spec ID Event03\x00" + bytes([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0])
    spec += b"\x0c\x00\x30\x00\x00"
    log = bytes([1, 0, 0, 0, 3, 0, 0, 0]) + bytes(20) + len(spec).to_bytes(4, "little") + spec
    for index, data in events:
        log += index.to_bytes(4, "little") + b"\x0d\x00\x00\x00\x01\x00\x00\x00\x0c\x00"
        log += hashlib.sha384(data).digest() + len(data).to_bytes(4, "little") + data
    return log + fill


def extended(*data: bytes) -> bytes:
    value = bytes(48)
    for each in data:
        value = hashlib.sha384(value + hashlib.sha384(each).digest()).digest()
    return value


def digest(data: bytes) -> str:
    return hashlib.sha384(data).hexdigest()


LOG = log_of((1, b"firmware"), (2, b"grub"), (2, b"linux"), (3, b"quiet"))
LOGGED = {
    "rtmr0": extended(b"firmware"),
    "rtmr1": extended(b"grub", b"linux"),
    "rtmr2": extended(b"quiet"),
}


def with_log(log: bytes = LOG, **report: object) -> dict[str, bytes]:
    return {"quote": quote(**LOGGED | report), "event-log": log}


def log_policy(**changes: object) -> object:
    by_events = {
        "rtmr0": ["any"],
        "rtmr1": ["events"],
        "rtmr2": [LOGGED["rtmr2"].hex()],
        "events": [f"rtmr1:{digest(b'grub')}", f"rtmr1:{digest(b'linux')}|{digest(b'linux 2')}"],
    }
    return policy(TDX, **by_events | changes)


def test_a_register_can_be_judged_by_its_events() -> None:
    result = judge(TDX, with_log(), pins=log_policy())
    assert result.status is Status.AFFIRMING
    assert result.claims.claims["events"][2] == {
        "rtmr": 1,
        "digest": digest(b"linux"),
        "data": b"linux".hex(),
    }


@pytest.mark.parametrize("fill", [b"", bytes(100), b"\xff" * 100])
def test_the_area_of_the_log_may_be_filled(fill: bytes) -> None:
    log = log_of((1, b"firmware"), (2, b"grub"), (2, b"linux"), (3, b"quiet"), fill=fill)
    assert judge(TDX, with_log(log), pins=log_policy()).status is Status.AFFIRMING


@pytest.mark.parametrize(
    "events",
    [
        ((1, b"firmware"), (2, b"linux"), (2, b"grub"), (3, b"quiet")),
        ((1, b"firmware"), (2, b"grub"), (3, b"quiet")),
        ((1, b"firmware"), (2, b"grub"), (2, b"linux"), (3, b"quiet"), (4, b"more")),
    ],
    ids=["other order", "one less", "one more"],
)
def test_a_log_that_does_not_lead_to_the_registers_is_refused(events: tuple) -> None:
    # A register of which the log says nothing is judged by its value alone.
    refused = first_failure(TDX, with_log(log_of(*events)), pins=log_policy())
    assert refused == ("event log")


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"events": [f"rtmr1:{digest(b'grub')}"]}, "rtmr1"),
        ({"events": [f"rtmr1:{digest(b'grub')}", f"rtmr1:{digest(b'linux 2')}"]}, "rtmr1"),
        ({"rtmr2": ["00" * 48]}, "rtmr2"),
        ({"rtmr2": ["any"], "events": [f"rtmr2:{digest(b'verbose')}"], "rtmr1": ["any"]}, "rtmr2"),
    ],
    ids=["not pinned", "another kernel", "another value", "pinned and absent"],
)
def test_events_that_the_policy_does_not_pin_are_refused(changes: dict, check: str) -> None:
    assert first_failure(TDX, with_log(), pins=log_policy(**changes)) == check


def test_of_alternative_events_number_and_order_are_not_judged() -> None:
    """As the README says: only a pin by values tells these logs apart."""
    pins = log_policy(events=[f"rtmr1:{digest(b'grub')}|{digest(b'linux')}"])
    for events in ((b"grub",), (b"linux",), (b"linux", b"grub"), (b"grub", b"grub", b"linux")):
        log = log_of((1, b"firmware"), *((2, event) for event in events), (3, b"quiet"))
        evidence = with_log(log, rtmr1=extended(*events))
        assert judge(TDX, evidence, pins=pins).status is Status.AFFIRMING
    log = log_of((1, b"firmware"), (2, b"grub"), (2, b"other"), (3, b"quiet"))
    evidence = with_log(log, rtmr1=extended(b"grub", b"other"))
    assert first_failure(TDX, evidence, pins=pins) == "rtmr1"


def test_a_policy_that_pins_events_needs_the_log() -> None:
    evidence = {"quote": quote(**LOGGED)}
    assert first_failure(TDX, evidence, pins=log_policy()) == "events"


def test_a_register_that_was_never_extended_has_no_pinned_events() -> None:
    log = log_of((1, b"firmware"), (3, b"quiet"))
    evidence = with_log(log, rtmr1=bytes(48))
    assert first_failure(TDX, evidence, pins=log_policy()) == "rtmr1"


@pytest.mark.parametrize("index", [0, 5])
def test_an_event_for_a_register_that_a_td_has_not_is_refused(index: int) -> None:
    log = log_of((1, b"firmware"), (index, b"more"))
    assert first_failure(TDX, with_log(log), pins=log_policy()) == "structure"


@pytest.mark.parametrize("log", [b"", b"\xff" * 100, bytes(100), LOG[:90], LOG + b"x"])
def test_what_is_no_log_is_refused(log: bytes) -> None:
    assert first_failure(TDX, with_log(log), pins=log_policy()) == "structure"


def test_a_changed_byte_of_the_log_changes_no_claim() -> None:
    """No digest covers an event's type: such a byte may change, but nothing that is claimed."""
    pins, wanted = log_policy(), judge(TDX, with_log(), pins=log_policy()).claims
    for at in range(len(LOG)):
        changed = bytearray(LOG)
        changed[at] ^= 0x10
        evidence = with_log(bytes(changed))
        if not first_failure(TDX, evidence, pins=pins):
            claims = judge(TDX, evidence, pins=pins).claims
            for event, truth in zip(claims.claims["events"], wanted.claims["events"], strict=True):
                assert event.items() <= truth.items()


@given(log=st.binary(max_size=400))
def test_whatever_log_comes_in_there_is_one_error(log: bytes) -> None:
    start = LOG[:70]
    for data in (log, start + log):
        assert first_failure(TDX, with_log(data), pins=log_policy()) in ("structure", "event log")


# Policy, recognition, inspection


@pytest.mark.parametrize(
    "changes",
    [
        {"mrtd": ["any"]},
        {"mrtd": []},
        {"rtmr0": []},
        {"rtmr0": ["00"]},
        {"rtmr0": ["any", "events"]},
        {"rtmr1": ["events"]},
        {"rtmr1": ["events"], "events": ["rtmr0:" + "00" * 48]},
        {"events": ["rtmr4:" + "00" * 48]},
        {"events": ["rtmr1:" + "00" * 48 + "|"]},
        {"events": ["AA" * 48]},
        {"mrseam": []},
        {"td_attributes": ["any"]},
        {"xfam": ["any"]},
        {"mrconfigid": ["00" * 47]},
        {"mrowner": ["any"]},
        {"mrservicetd": []},
        {"mrservicetd": ["any"]},
        {"exceptions": ["revoked"]},
        {"surplus": 1},
    ],
    ids=str,
)
def test_a_policy_with_a_wrong_pin_is_an_error(changes: dict) -> None:
    with pytest.raises(ConfigurationError):
        policy(TDX, **changes)


@pytest.mark.parametrize("key", without(TDX))
def test_every_pin_is_needed(key: str) -> None:
    with pytest.raises(ConfigurationError):
        policy(TDX, without=key)


@pytest.mark.parametrize("version", [4, 5])
def test_a_quote_is_recognised_by_its_header(version: int) -> None:
    evidence = quote(version)
    assert tdx.FORMAT.recognise(evidence) == {"quote": evidence}
    for other in (b"", b"\x04\x00", INTEL.sgx_quote(), evidence[:100], b"{}" * 500):
        assert tdx.FORMAT.recognise(other) is None


def test_a_quote_can_be_read_without_any_check() -> None:
    claims = tdx.FORMAT.inspect({"quote": quote(5, mrservicetd=b"\x01" * 48)})
    assert claims["quote-version"] == 5
    assert claims["mrservicetd"] == "01" * 48
    assert claims["platform-instance-id"] == bytes(range(16, 32)).hex()
    with pytest.raises(MalformedMessage):
        tdx.FORMAT.inspect({"quote": b""})


def test_an_event_log_can_be_read_without_any_check() -> None:
    claims = tdx.FORMAT.inspect({"quote": quote(), "event-log": LOG})
    assert claims["event-log-rtmr1"] == LOGGED["rtmr1"].hex()
    assert [event["rtmr"] for event in claims["events"]] == [0, 1, 1, 2]
    with pytest.raises(MalformedMessage):
        tdx.FORMAT.inspect({"quote": quote(), "event-log": log_of((0, b"more"))})
