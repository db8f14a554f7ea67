"""Event logs: made up ones for every rule, and real ones with the registers they led to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.boot_facts import (
    GLOBAL_VARIABLE,
    Variable,
    boot_applications,
    boot_variables,
    parse_variable,
    secure_boot,
)
from fedenclave.attestation.event_log import (
    EV_NO_ACTION,
    parse_event_log,
    replay,
)
from fedenclave.attestation.tpm.quote import Quoted, parse_attest, pcr_digest
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.cases import EVIDENCE
from tests.attestation.fake_event_log import Log, boot_log, le32, variable

LOGS = EVIDENCE / "tpm" / "gotpmtools-eventlogs"
needs_evidence = pytest.mark.skipif(not LOGS.exists(), reason=f"{LOGS} is not there")


def old_event(index: int, type_: int, data: bytes) -> bytes:
    digest = bytes(20) if type_ == EV_NO_ACTION else hashlib.sha1(data).digest()  # noqa: S324
    return le32(index) + le32(type_) + digest + le32(len(data)) + data


def header(algorithms: bytes, count: int, *, version: bytes = b"\x00\x02\x00\x02") -> bytes:
    data = b"Spec ID Event03\x00" + le32(0) + version + le32(count) + algorithms + b"\x00"
    return old_event(0, EV_NO_ACTION, data)


SHA256 = b"\x0b\x00\x20\x00"


def test_a_log_gives_its_events_without_the_header() -> None:
    log = Log()
    log.add(0, 8, b"firmware")
    log.add(4, 0x80000003, b"path", b"image")
    first, second = parse_event_log(log.to_bytes())
    assert (first.index, first.type, first.data) == (0, 8, b"firmware")
    assert first.digests["sha256"] == hashlib.sha256(b"firmware").digest()
    assert set(first.digests) == {"sha1", "sha256"}
    assert first.covers_data("sha256")
    assert not second.covers_data("sha256")
    assert (first.type, second.type) == (8, 0x80000003)


@pytest.mark.parametrize("fill", [b"", b"\x00" * 100, b"\xff" * 100])
def test_a_fixed_area_is_filled_with_zeros_or_ones(fill: bytes) -> None:
    log = boot_log()
    assert len(parse_event_log(log.to_bytes() + fill)) == len(log.events)


@pytest.mark.parametrize(
    "rest", [b"\x00" * 9 + b"\xff", b"\xff" * 9 + b"\x00", b"\x01", b"abcdefgh"]
)
def test_anything_else_after_the_last_event_is_refused(rest: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_event_log(boot_log().to_bytes() + rest)


@pytest.mark.parametrize("data", [b"", bytes(64), b"\xff" * 64, b"short"])
def test_a_file_without_an_event_is_no_log(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_event_log(data)


def test_a_log_with_sha1_only_is_read() -> None:
    data = old_event(0, 8, b"firmware") + old_event(0, 4, bytes(4))
    events = parse_event_log(data)
    assert [set(event.digests) for event in events] == [{"sha1"}, {"sha1"}]
    assert set(replay(events, "sha1")) == {0}
    with pytest.raises(MalformedMessage):
        replay(events, "sha256")


@pytest.mark.parametrize(
    "head",
    [
        header(SHA256, 1, version=b"\x00\x01\x00\x02"),
        header(SHA256, 1, version=b"\x01\x02\x00\x02"),
        header(SHA256, 1, version=b"\x00\x02\x00\x03"),
        header(b"", 0),
        header(SHA256 * 2, 2),
        header(b"\x0b\x00\x14\x00", 1),
        header(b"\x99\x00\x20\x00", 1),
        header(SHA256, 2),
        header(SHA256 * 17, 17),
        header(SHA256 + b"\x00", 1),
    ],
    ids=[
        "version 1.0",
        "version 2.1",
        "uintn",
        "no bank",
        "twice",
        "size",
        "unknown",
        "one missing",
        "too many",
        "trailing",
    ],
)
def test_a_header_that_cannot_be_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_event_log(head)


@pytest.mark.parametrize(
    "digests",
    [
        le32(0),
        le32(2) + (b"\x0b\x00" + bytes(32)) * 2,
        le32(1) + b"\x04\x00" + bytes(20),
        le32(3) + (b"\x0b\x00" + bytes(32)) * 3,
    ],
    ids=["none", "twice", "not in the header", "too many"],
)
def test_an_event_with_other_digests_than_the_headers_is_refused(digests: bytes) -> None:
    banks = header(SHA256 + b"\x0c\x00\x30\x00", 2)
    with pytest.raises(MalformedMessage):
        parse_event_log(banks + le32(0) + le32(8) + digests + le32(0))


def test_a_register_that_no_tpm_has_is_refused() -> None:
    log = Log()
    log.add(24, 8, b"data")
    with pytest.raises(MalformedMessage):
        parse_event_log(log.to_bytes())


def test_banks_that_cannot_be_computed_are_read_over() -> None:
    head = header(SHA256 + b"\x12\x00\x20\x00", 2)
    digest = hashlib.sha256(b"x").digest()
    event = le32(0) + le32(8) + le32(2) + b"\x12\x00" + bytes(32) + b"\x0b\x00" + digest
    (parsed,) = parse_event_log(head + event + le32(1) + b"x")
    assert dict(parsed.digests) == {"sha256": digest}


# Replay


def test_replay_extends_each_register_from_zero() -> None:
    log = boot_log()
    assert replay(parse_event_log(log.to_bytes()), "sha256") == log.registers


def test_events_without_action_extend_nothing() -> None:
    log = Log()
    log.add(0, EV_NO_ACTION, b"SP800-155 Event")
    log.add(0xFFFFFFFF, EV_NO_ACTION, b"of no register")
    assert replay(parse_event_log(log.to_bytes()), "sha256") == {}


@pytest.mark.parametrize("locality", [0, 3, 4])
def test_a_startup_locality_is_the_beginning_of_pcr_0(locality: int) -> None:
    log = Log()
    log.add(0, EV_NO_ACTION, b"StartupLocality\x00" + bytes([locality]))
    log.add(0, 8, b"firmware")
    start = bytes(31) + bytes([locality])
    firmware = hashlib.sha256(b"firmware").digest()
    replayed = replay(parse_event_log(log.to_bytes()), "sha256")
    assert replayed == {0: hashlib.sha256(start + firmware).digest()}


@pytest.mark.parametrize("case", ["late", "twice", "locality 1", "of pcr 1", "long"])
def test_a_startup_locality_that_cannot_be_is_refused(case: str) -> None:
    log = Log()
    if case == "late":
        log.add(0, 8, b"firmware")
    data = b"StartupLocality\x00" + {"locality 1": b"\x01", "long": b"\x03\x00"}.get(case, b"\x03")
    for _ in range(1 + (case == "twice")):
        log.add(1 if case == "of pcr 1" else 0, EV_NO_ACTION, data)
    with pytest.raises(MalformedMessage):
        replay(parse_event_log(log.to_bytes()), "sha256")


def test_a_register_may_begin_with_another_value() -> None:
    log = Log()
    log.add(17, 8, b"launch")
    start = b"\xff" * 32
    replayed = replay(parse_event_log(log.to_bytes()), "sha256", initial={17: start})
    digest = hashlib.sha256(start + hashlib.sha256(b"launch").digest()).digest()
    assert replayed == {17: digest}


# What a log says


def test_facts_of_a_usual_boot() -> None:
    events = parse_event_log(boot_log().to_bytes())
    assert secure_boot(events, "sha256") is True
    assert boot_applications(events, "sha256") == (hashlib.sha256(b"shim").digest(),)
    order = Variable(vendor=GLOBAL_VARIABLE, name="BootOrder", value=b"\x01\x00")
    assert boot_variables(events, "sha256") == (order,)


@pytest.mark.parametrize(
    ("first", "known"),
    [
        (variable("SecureBoot", b"\x01"), True),
        (variable("SecureBoot", b"\x00"), False),
        (variable("SecureBoot", b""), False),
        (variable("SecureBoot", b"\x02"), False),
        (variable("SecureBoot", b"\x01", vendor=str(uuid.UUID(int=1))), None),
        (variable("SetupMode", b"\x01"), None),
        (b"UEFI Debug Mode", None),
    ],
)
def test_secure_boot_is_what_comes_first(first: bytes, known: bool | None) -> None:
    log = Log()
    log.add(7, 0x80000001, first)
    log.add(7, 0x80000001, variable("SecureBoot", b"\x01"))
    assert secure_boot(parse_event_log(log.to_bytes()), "sha256") is known


def test_secure_boot_is_unknown_without_its_register() -> None:
    assert secure_boot((), "sha256") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        variable("Boot0001", b"x")[:-1],
        variable("Boot0001", b"x") + b"x",
        bytes(16) + (2**63).to_bytes(8, "little") + bytes(8),
        bytes(16) + (1).to_bytes(8, "little") + bytes(8) + b"\x00\xd8",
    ],
    ids=["empty", "short", "long", "huge name", "half a surrogate"],
)
def test_a_variable_that_cannot_be_does_not_parse(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_variable(data)


@given(st.binary(max_size=300))
def test_random_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for log in (data, boot_log().header() + data):
        with contextlib.suppress(MalformedMessage):
            events = parse_event_log(log)
            replay(events, "sha256")
            secure_boot(events, "sha256"), boot_variables(events, "sha256")


def test_every_cut_and_every_changed_byte_is_malformed_or_another_log() -> None:
    data = boot_log().to_bytes()
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 0x80 >> at % 8
        for log in (data[:at], bytes(changed)):
            with contextlib.suppress(MalformedMessage):
                replay(parse_event_log(log), "sha256")


# Real logs. The registers are those that the publishers of the logs, or of the firmware, name.

KNOWN = {
    "rhel8-uefi": {
        0: "24af52a4f429b71a3184a6d64cddad17e54ea030e2aa6576bf3a5a3d8bd3328f",
        1: "454220afaa80c83c3839f6cccd8b3c88bf4f562316a9dda1121c578c9e005a53",
        4: "758a3d35f1b0ff5b135dacd07db0c8132c0ac665d944090d4bf96e66447a245c",
        5: "53d0ee36163219201e686167bbb71ec505b3ba2917b9d9183ed84aad26cfeb89",
        7: "5fd54361d580eb7592adb8deb236ff35444ceeac7148f24b3de63c041f12b3da",
    },
    "cos-101-amd-sev": {0: "0f35c214608d93c7a6e68ae7359b4a8be5a0e99eea9107ece427c4dea4e439cf"},
    "ubuntu-2404-amd-sevsnp": {
        0: "50597a27846e91d025eef597abbc89f72bff9af849094db97b0684d8bc4c515e",
        1: "57344e1cc8c6619413df33013a7cd67915459f967395af41db21c1fa7ca9c307",
    },
    # This one begins at locality 3.
    "glinux-alex": {
        0: "0e5ea849d7647a1ac1becc096fee4df98f00f8015f934afadaab0b8aa20b38a5",
        1: "9750400838980c9419764b9cf19c975c0e159c18ebe21cb897c6e834a8d8d433",
        2: "970096d49105b0404999173e49c3f6b8597b9c4c5ff6a9e364b55ce01037578e",
    },
}


@needs_evidence
@pytest.mark.parametrize("name", KNOWN)
def test_a_real_log_leads_to_the_registers_that_are_known(name: str) -> None:
    replayed = replay(parse_event_log((LOGS / f"{name}.bin").read_bytes()), "sha256")
    assert {index: replayed[index].hex() for index in KNOWN[name]} == KNOWN[name]


@needs_evidence
def test_a_real_log_leads_to_the_digest_of_a_real_quote() -> None:
    folder = EVIDENCE / "tpm" / "dstack"
    replayed = replay(parse_event_log((folder / "tpm_eventlog.bin").read_bytes()), "sha256")
    body = parse_attest((folder / "tpm_quote_sample.bin").read_bytes()).body
    assert isinstance(body, Quoted)
    assert body.digest == pcr_digest(replayed, body.selections[0].indices, "sha256")


@needs_evidence
@pytest.mark.parametrize("path", sorted(LOGS.glob("*.bin")), ids=lambda path: path.stem)
def test_every_real_log_parses_and_replays_in_all_its_banks(path: Path) -> None:
    events = parse_event_log(path.read_bytes())
    for bank in events[0].digests:
        assert {0, 1, 2, 3, 4, 5, 6, 7} <= set(replay(events, bank))


@needs_evidence
def test_secure_boot_of_real_machines() -> None:
    on = {
        path.stem
        for path in LOGS.glob("*.bin")
        if (events := parse_event_log(path.read_bytes()))
        and secure_boot(events, max(events[0].digests, key=len))
    }
    assert on == {
        "confidential-gke-debug-251000_eventlog",
        "cos-101-amd-sev",
        "cos-85-amd-sev",
        "cos-93-amd-sev",
        "debian-10",
        "eventlogwithsp800155",
        "rhel8-uefi",
    }


@needs_evidence
def test_the_log_of_keylime_parses() -> None:
    data = base64.b64decode((EVIDENCE / "tpm" / "keylime" / "mb_log.b64").read_bytes())
    events = parse_event_log(data)
    assert len(events) == 101
    assert secure_boot(events, "sha256") is True


@needs_evidence
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("tdx/trustee/CCEL_data", 5),
        ("tdx/trustee/CCEL_data_ovmf", 20),
        ("tdx/gotdx/ccel_ccel_data.dat", 43),
    ],
)
def test_the_area_of_a_real_ccel_parses_with_its_fill(name: str, count: int) -> None:
    events = parse_event_log((EVIDENCE / name).read_bytes())
    assert len(events) == count
    assert set(replay(events, "sha384")) <= {1, 2, 3}
