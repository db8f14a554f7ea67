"""What a replayed event log says about the boot, as far as the quoted registers vouch for it.

Not here: the replay (event_log.py). Call this only with a log that replays to signed registers,
and only for those registers.

Rules:
  * An event's type is a label that anybody can change; no fact rests on it. Software that runs
    later can also extend a register with whatever it likes, and lay claim to it in the log. What
    it cannot do is to come first. So secure boot is the *first* thing that PCR 7 was extended
    with, and boot applications are *everything* that PCR 4 was extended with.
  * An event's data counts only where the extended digest is the hash of that data.

Source: TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4 (what goes into which PCR) and
10 (UEFI_VARIABLE_DATA; which event's digest is over what); UEFI 2.10, section 3.3 (SecureBoot,
Boot####, BootOrder).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from fedenclave.attestation.event_log import Event
from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

BOOT_VARIABLES_PCR, BOOT_APPLICATIONS_PCR, SECURE_BOOT_PCR = 1, 4, 7
GLOBAL_VARIABLE = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_MAX_NAME = 1024

NOT_APPLICATIONS = (
    b"\x00\x00\x00\x00",  # separator: the firmware is done
    b"\xff\xff\xff\xff",
    b"Calling EFI Application from Boot Option",
    b"Returning from EFI Application from Boot Option",
    b"BOOT ATTEMPTS OMITTED",
)
"""What firmware extends PCR 4 with besides the digests of what it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A UEFI variable as it was measured."""

    vendor: uuid.UUID
    name: str
    value: bytes


def parse_variable(data: bytes) -> Variable:
    """Return the UEFI_VARIABLE_DATA in `data`.

    Raises:
        MalformedMessage: it is none.
    """
    reader = Reader(data, "uefi variable")
    vendor = uuid.UUID(bytes_le=reader.take(16))
    characters, size = reader.little(8), reader.little(8)
    if characters > _MAX_NAME:
        raise MalformedMessage(f"uefi variable has a name of {characters} characters")
    try:
        name = reader.take(2 * characters).decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise MalformedMessage("uefi variable has a name that is not utf-16") from error
    variable = Variable(vendor=vendor, name=name, value=reader.take(size))
    reader.finish()
    return variable


def _vouched_variable(event: Event, algorithm: str) -> Variable | None:
    """Return the variable in the event's data if its digest is over exactly that."""
    if not event.covers_data(algorithm):
        return None
    try:
        return parse_variable(event.data)
    except MalformedMessage:
        return None


def secure_boot(events: Iterable[Event], algorithm: str) -> bool | None:
    """Return whether secure boot was on; None where PCR 7 does not begin with that variable.

    A platform in debug mode extends PCR 7 with something else first; that is None too.
    """
    first = next((e for e in events if e.extends and e.index == SECURE_BOOT_PCR), None)
    variable = None if first is None else _vouched_variable(first, algorithm)
    if variable is None or (variable.vendor, variable.name) != (GLOBAL_VARIABLE, "SecureBoot"):
        return None
    # Where the platform has no such variable, firmware measures an empty one.
    return variable.value == b"\x01"


def boot_applications(events: Iterable[Event], algorithm: str) -> tuple[bytes, ...]:
    """Return what PCR 4 was extended with, but for separators and boot attempts, in order.

    They are Authenticode digests of PE images: boot loaders, kernels.
    """
    known = {hashlib.new(algorithm, data).digest() for data in NOT_APPLICATIONS}
    extended = (e.digests[algorithm] for e in _of(events, BOOT_APPLICATIONS_PCR))
    return tuple(digest for digest in extended if digest not in known)


def boot_variables(events: Iterable[Event], algorithm: str) -> tuple[Variable, ...]:
    """Return the variables, such as BootOrder, that PCR 1 was extended with, name and value.

    Much firmware measures a boot variable's value without its name, which nothing then vouches
    for: such a variable is not here.
    """
    found = (_vouched_variable(e, algorithm) for e in _of(events, BOOT_VARIABLES_PCR))
    return tuple(variable for variable in found if variable is not None)


def _of(events: Iterable[Event], index: int) -> list[Event]:
    return [e for e in events if e.extends and e.index == index]
