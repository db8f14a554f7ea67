"""Judge whether the pinned registers say at all what the machine started.

Firmware extends PCR 4 with every boot loader and kernel before it starts them, so whoever boots a
system of his own changes it. No other register does that job: 0 to 3 and 5 to 7 hold the firmware,
its settings and its keys, and software fills the rest as it likes.

Rules:
  * PCR 4 is pinned: itself by value, or what it was extended with by `boot_applications`.
  * A value that every machine has pins nothing. Firmware closes each of PCR 0 to 7 with a
    separator, and where it measured nothing else (often 2, 3 and 6) the register is the same on
    any PC. So PCR 4 must hold more than separators and announcements.
  * A register of 0 to 7 that is still as the TPM began it means firmware that measures nothing:
    whoever starts the machine can extend it with anything.

Not here: whether the values are those that the policy pins (registers.py).

Source: TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4 (PCR usage, separators) and
10.4.5.3 (startup locality: PCR 0 may begin with a locality in its last byte).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping

from fedenclave.attestation.boot_facts import BOOT_APPLICATIONS_PCR, NOT_APPLICATIONS
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.attestation.tpm.policy import FIRMWARE_REGISTERS, UNMEASURED_BOOT, TpmPins

MEASURED_BOOT = "measured boot"
_ZERO = bytes(32)
_SEPARATOR_OF_AN_ERROR = b"\x01\x00\x00\x00"
_MOST_ANNOUNCEMENTS = 3


def _without_code() -> frozenset[bytes]:
    """Return what PCR 4 can hold after a few events that start nothing."""
    digests = [hashlib.sha256(e).digest() for e in (*NOT_APPLICATIONS, _SEPARATOR_OF_AN_ERROR)]
    values = set()
    for number in range(1, _MOST_ANNOUNCEMENTS + 1):
        for extended in itertools.product(digests, repeat=number):
            value = _ZERO
            for digest in extended:
                value = hashlib.sha256(value + digest).digest()
            values.add(value)
    return frozenset(values)


_WITHOUT_CODE = _without_code()


def judge_measured_boot(checklist: Checklist, values: Mapping[int, bytes], pins: TpmPins) -> None:
    """Note, as `measured boot`, whether the pins and the quoted values say what was started.

    Args:
        checklist: where the check goes.
        values: the quoted registers of the SHA-256 bank, verified.
        pins: the policy.
    """
    pinned = [index for index in FIRMWARE_REGISTERS if pins.pcrs.get(index) is not None]
    if pins.boot_applications is not None and BOOT_APPLICATIONS_PCR not in pinned:
        pinned.append(BOOT_APPLICATIONS_PCR)
    started = values.get(BOOT_APPLICATIONS_PCR)
    told = [f"pcr {index}: {_words(values.get(index))}" for index in pinned]
    if BOOT_APPLICATIONS_PCR not in pinned:
        told.append(f"pcr {BOOT_APPLICATIONS_PCR}: not pinned")
    checklist.want(
        MEASURED_BOOT,
        holds=BOOT_APPLICATIONS_PCR in pinned
        and started is not None
        and started not in _WITHOUT_CODE
        and not any(_is_initial(values[index]) for index in pinned if index in values),
        found="; ".join(told),
        wanted=f"pcr {BOOT_APPLICATIONS_PCR} pinned and quoted, with the digest of a boot loader "
        "or kernel in it, and no pinned register of pcr 0 to 7 all zeros",
        trust=Trust.EXECUTABLES,
        hint="pin pcr 4 as it is after a start of the image: no other register shows that the "
        "operator started a system of his own. Zeros: firmware measured nothing into this tpm",
        exception=UNMEASURED_BOOT,
    )


def _is_initial(value: bytes) -> bool:
    """Whether nothing was extended: zeros, in PCR 0 perhaps with the locality of the start."""
    return not any(value[:-1]) and value[-1] in (0, 3, 4)


def _words(value: bytes | None) -> str:
    if value is None:
        return "not quoted"
    if _is_initial(value):
        return "all zeros"
    return "a separator alone, or announcements" if value in _WITHOUT_CODE else "measured"
