"""Judge a TPM's registers, and the log that explains them, by what the policy pins.

Source: TCG PC Client Platform Firmware Profile 1.06, section 3.3.4 (what goes into which PCR).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from fedenclave.attestation.boot_facts import (
    BOOT_APPLICATIONS_PCR,
    SECURE_BOOT_PCR,
    boot_applications,
    secure_boot,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.event_log import Event, replay
from fedenclave.attestation.result import Trust
from fedenclave.attestation.tpm.measured_boot import judge_measured_boot
from fedenclave.attestation.tpm.policy import TpmPins

BANK = "sha256"
MEASUREMENT_PCR = 11
"""The enclave extends its own measurement into it, once, before anything else does."""
_ZERO = bytes(32)
_NOT_QUOTED = "not quoted"


def measured(measurement: bytes) -> bytes:
    """Return what PCR 11 holds after `measurement` (32 bytes) was extended, and nothing else."""
    return hashlib.sha256(_ZERO + measurement).digest()


def judge_registers(checklist: Checklist, values: Mapping[int, bytes], pins: TpmPins) -> bytes:
    """Compare the registers with the pins.

    Args:
        checklist: where the checks go, as `pcr <index>`, `measured boot` and `measurement`.
        values: the quoted registers, verified.
        pins: the policy.

    Returns:
        The measurement that PCR 11 holds, if the policy pins it; else a digest over the registers
        that it pins by value. What else is quoted, the operator chooses: it identifies nothing.
    """
    for index, accepted in pins.pcrs.items():
        value = values.get(index)
        checklist.want(
            f"pcr {index}",
            holds=value is not None and (accepted is None or value in accepted),
            found=_NOT_QUOTED if value is None else value,
            wanted="any value, quoted" if accepted is None else _any_of(accepted),
            trust=Trust.EXECUTABLES,
            hint="the machine started other firmware, settings or code than the policy pins",
        )
    judge_measured_boot(checklist, values, pins)
    if pins.measurements is None:
        return _identity(values, pins)
    register = values.get(MEASUREMENT_PCR)
    found = [m for m in pins.measurements if measured(m) == register]
    checklist.want(
        "measurement",
        holds=bool(found),
        found=f"pcr {MEASUREMENT_PCR} {_NOT_QUOTED if register is None else register.hex()}",
        wanted=f"{_any_of(pins.measurements)}, extended once into pcr {MEASUREMENT_PCR}",
        trust=Trust.EXECUTABLES,
        hint="the aggregator runs code that the federation did not approve, or something else was "
        "measured into that register too, as systemd-stub does with a unified kernel image",
    )
    return found[0] if found else _identity(values, pins)


def _identity(values: Mapping[int, bytes], pins: TpmPins) -> bytes:
    """Return SHA-256 over the registers that are pinned by value, in ascending order."""
    pinned = [index for index in sorted(pins.pcrs) if pins.pcrs[index] is not None]
    return hashlib.sha256(b"".join(values.get(index, b"") for index in pinned)).digest()


def judge_log(
    checklist: Checklist, events: Sequence[Event], values: Mapping[int, bytes], pins: TpmPins
) -> None:
    """Compare an event log with the registers, and what it then says with the pins.

    Registers that were not quoted are passed over, and nothing is taken from their events.

    Raises:
        EvidenceRefused: the log does not lead to a quoted register.
        MalformedMessage: it lacks digests of the bank.
    """
    replayed = replay(events, BANK)
    wrong = [i for i in sorted(replayed.keys() & values.keys()) if replayed[i] != values[i]]
    checklist.must(
        "event log",
        holds=not wrong,
        found=f"leads to other values of pcr {wrong}" if wrong else "leads to the quoted values",
        wanted="a log that leads to the quoted value of every register it extends",
        trust=Trust.EXECUTABLES,
        hint="the log is of another start, is cut, or the operating system extended that register",
    )
    if pins.secure_boot:
        on = secure_boot(events, BANK) if SECURE_BOOT_PCR in values else None
        checklist.want(
            "secure boot",
            holds=on is True,
            found={True: "on", False: "off", None: "not said by the first event of pcr 7"}[on],
            wanted="on",
            trust=Trust.CONFIGURATION,
            hint="switch secure boot on, or say that it does not matter with secure_boot",
        )
    if pins.boot_applications is not None:
        quoted = BOOT_APPLICATIONS_PCR in values
        started = boot_applications(events, BANK) if quoted else ()
        unknown = [digest for digest in started if digest not in pins.boot_applications]
        checklist.want(
            "boot applications",
            holds=bool(started) and not unknown,
            found=(_any_of(unknown) if unknown else "all are pinned") if started else "none",
            wanted="at least one, and none but those that boot_applications pins",
            trust=Trust.EXECUTABLES,
            hint="the machine started another boot loader or kernel than the policy pins",
        )


def _any_of(values: Sequence[bytes]) -> str:
    return " or ".join(value.hex() for value in values)
