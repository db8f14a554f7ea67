"""The event log beside a made-up TPM's quote: what is read from it, and what is never believed."""

from __future__ import annotations

import hashlib

import pytest

from tests.attestation.fake_event_log import boot_log
from tests.attestation.fake_tpm import FakeTpm, policy
from tests.attestation.tpm_appraisal import UNMEASURED_BOOT, appraise, found, refusal, with_log


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
