"""The check `measured boot`: pins that say nothing of what was started affirm nothing."""

from __future__ import annotations

import hashlib

import pytest

from fedenclave.attestation.result import Status, Trust
from tests.attestation.fake_event_log import Log, boot_log
from tests.attestation.fake_tpm import MEASUREMENT, FakeTpm, policy
from tests.attestation.tpm_appraisal import UNMEASURED_BOOT, appraise, found, refusal, with_log

CHECK = "measured boot"
ALL = (*range(8), 11)
SEPARATOR = bytes(4)
CALLING = b"Calling EFI Application from Boot Option"
LOADER = hashlib.sha256(b"shim").hexdigest()


def any_pc(loader: bytes) -> FakeTpm:
    """Return a machine that measures as every PC does, and has started `loader`."""
    log = boot_log(loader=loader)
    for index in (2, 3, 5, 6):
        log.add(index, 0x4, SEPARATOR)
    return FakeTpm(log=log, selected=ALL)


def holding(**registers: bytes) -> FakeTpm:
    """Return a machine with these values, by names such as `pcr4`."""
    tpm = any_pc(b"shim")
    tpm.values |= {int(name.removeprefix("pcr")): value for name, value in registers.items()}
    return tpm


def extended(*events: bytes) -> bytes:
    log = Log()
    for event in events:
        log.add(4, 0x4, event)
    return log.registers[4]


def pins(tpm: FakeTpm, *indices: int, more: str = "") -> str:
    """Return the table `pcrs` that pins these registers by their values."""
    return "".join(f'{index} = ["{tpm.values[index].hex()}"]\n' for index in indices) + more


@pytest.mark.parametrize("index", [0, 1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("more", ["", '4 = ["any"]\n'], ids=["unnamed", "any value"])
def test_operator_booting_a_loader_of_his_own_where_pcr_4_is_not_pinned_is_refused(
    index: int, more: str
) -> None:
    approved, own = any_pc(b"shim"), any_pc(b"the operator's")
    text = policy(approved, pcrs=pins(approved, index, more=more))
    assert own.values[11] == hashlib.sha256(bytes(32) + MEASUREMENT).digest()
    assert refusal(own.parts(), text) == CHECK
    assert "pcr 4: not pinned" in found(own.parts(), text)


@pytest.mark.parametrize("index", [2, 3, 6])
def test_a_pin_that_every_pc_fulfils_is_called_by_its_name(index: int) -> None:
    tpm = any_pc(b"the operator's")
    assert tpm.values[index] == extended(SEPARATOR)
    told = found(tpm.parts(), policy(tpm, pcrs=pins(tpm, index)))
    assert told == f"pcr {index}: a separator alone, or announcements; pcr 4: not pinned"
    # Beside PCR 4 it is an ordinary pin.
    assert appraise(tpm.parts(), policy(tpm, pcrs=pins(tpm, index, 4)))


@pytest.mark.parametrize(
    "value",
    [
        bytes(32),
        extended(SEPARATOR),
        extended(b"\xff" * 4),
        extended(b"\x01\x00\x00\x00"),
        extended(CALLING),
        extended(CALLING, SEPARATOR),
        extended(SEPARATOR, CALLING),
        extended(CALLING, b"Returning from EFI Application from Boot Option", SEPARATOR),
    ],
    ids=["zeros", "separator", "other", "error", "calling", "then closed", "later", "returned"],
)
def test_a_pcr_4_in_which_nothing_was_started_is_refused_though_it_is_pinned(value: bytes) -> None:
    tpm = holding(pcr4=value)
    assert refusal(tpm.parts(), policy(tpm)) == CHECK


@pytest.mark.parametrize("index", range(8))
def test_firmware_that_never_measured_is_refused_whatever_pcr_4_holds(index: int) -> None:
    tpm = holding(**{f"pcr{index}": bytes(32)})
    text = policy(tpm, pcrs=pins(tpm, *{index, 4}))
    assert refusal(tpm.parts(), text) == CHECK
    assert f"pcr {index}: all zeros" in found(tpm.parts(), text)
    if index != 4:
        # Only pins are judged: of the others the policy says nothing.
        assert appraise(tpm.parts(), policy(tpm, pcrs=pins(tpm, 4)))


def test_a_locality_in_pcr_0_is_no_firmware() -> None:
    tpm = holding(pcr0=bytes(31) + b"\x03")
    assert refusal(tpm.parts(), policy(tpm)) == CHECK


def test_pinned_boot_applications_say_as_much_as_pcr_4() -> None:
    tpm = any_pc(b"shim")
    text = policy(tpm, boot_applications=f'["{LOADER}"]', pcrs=pins(tpm, 7))
    appraisal = appraise(with_log(tpm), text)
    assert appraisal.status is Status.AFFIRMING
    (check,) = (check for check in appraisal.checks if check.name == CHECK)
    assert (check.found, check.trust) == ("pcr 7: measured; pcr 4: measured", Trust.EXECUTABLES)


def test_a_pcr_4_that_is_not_quoted_says_nothing() -> None:
    tpm = FakeTpm(selected=(0, 7, 11))
    text = policy(tpm, boot_applications=f'["{LOADER}"]', pcrs=pins(tpm, 0, 7))
    assert refusal(with_log(tpm), text) == CHECK
    assert "pcr 4: not quoted" in found(with_log(tpm), text)


def test_a_policy_may_take_an_unmeasured_boot_and_the_result_says_so() -> None:
    tpm = FakeTpm(log=Log(), selected=ALL)
    text = policy(tpm, pcrs=pins(tpm, *range(8)))
    assert refusal(tpm.parts(), text) == CHECK
    text = policy(tpm, pcrs=pins(tpm, *range(8)), exceptions=UNMEASURED_BOOT)
    appraisal = appraise(tpm.parts(), text)
    assert appraisal.status is Status.WARNING
    assert [check.name for check in appraisal.checks if check.excepted] == [CHECK]
    # What is pinned is compared all the same.
    tpm.values[4] = extended(b"the operator's")
    assert refusal(tpm.parts(), text) == "pcr 4"
