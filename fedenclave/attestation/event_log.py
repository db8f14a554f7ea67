"""Read the log of what firmware and boot loaders measured, and replay it.

Not here: what the events mean (boot_facts.py), and whether the log is true. A log is a story that
its bearer tells. `replay` gives the registers that the story would have led to; only where these
equal registers that a TPM or TDX quote signs are the *digests* in the log true, and their order.
Even then an event's type is only a label, and its data is true only where a digest covers it
(`Event.covers_data`).

A log comes in one of two encodings, little-endian both:
  * crypto agile: a first event in the old encoding, whose data begins `Spec ID Event03`, says
    which digests follow; every other event has one digest per bank;
  * SHA-1 only (TPM 1.2, and some firmware still): every event is in the old encoding.

Rules:
  * A log ends with its last event; after it comes nothing, or only zeros, or only bytes 0xff, as
    ACPI areas of a fixed size (CCEL) are filled.
  * An event's digests are of banks that the header lists, each once.
  * EV_NO_ACTION changes no register, but for one: `StartupLocality` says how PCR 0 began.

Source: TCG PC Client Platform Firmware Profile 1.06, section 10 (event logging: encodings, event
types, 10.4.5.1 the Spec ID event, 10.4.5.3 the startup locality); TCG Algorithm Registry 1.34
(algorithm identifiers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

ALGORITHMS = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
"""Names by TPM_ALG_ID, of the digests that this version can compute."""
SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_OTHER_SIZES = {0x0012: 32, 0x0027: 32, 0x0028: 48, 0x0029: 64}
"""SM3 and SHA-3 banks: their digests are read over, and nothing can be replayed with them."""

EV_NO_ACTION = 0x00000003
LAST_REGISTER = 23
"""A TPM of a PC has PCRs 0 to 23; a CCEL counts its measurement registers from 0 to 4."""

_SPEC_ID = b"Spec ID Event03\x00"
_STARTUP_LOCALITY = b"StartupLocality\x00"
_LOCALITIES = (0, 3, 4)
_UINTN_SIZES = (1, 2)
_SHA1_SIZE = 20
_MAX_BANKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a log.

    Attributes:
        index: the PCR, or the measurement register of a CCEL (0 is MRTD, 1 to 4 are RTMR 0 to 3).
        type: one of the specification's numbers; a label that no digest covers.
        digests: what was extended, by the name of the hash.
        data: what the logger says about it.
    """

    index: int
    type: int
    digests: Mapping[str, bytes]
    data: bytes

    @property
    def extends(self) -> bool:
        """Whether the event changed its register."""
        return self.type != EV_NO_ACTION

    def covers_data(self, algorithm: str) -> bool:
        """Return whether what was extended is the hash of exactly this data."""
        return self.digests.get(algorithm) == hashlib.new(algorithm, self.data).digest()


def parse_event_log(data: bytes) -> tuple[Event, ...]:
    """Return the events of a log, without the header event that describes its encoding.

    Args:
        data: as Linux gives it: `/sys/kernel/security/tpm0/binary_bios_measurements`, or the area
            of the ACPI table CCEL with its fill.

    Raises:
        MalformedMessage: it is no log, or something in it is unknown or left over.
    """
    # From this end on there is nothing but fill.
    end = min(len(data.rstrip(fill)) for fill in (b"\x00", b"\xff"))
    if end == 0:
        raise MalformedMessage("event log is empty")
    reader = Reader(data, "event log")
    first = _read_old(reader)
    if first.type == EV_NO_ACTION and first.data.startswith(_SPEC_ID):
        banks, events = _read_spec_id(first), []
    else:
        banks, events = None, [first]
    while reader.at < end:
        events.append(_read_old(reader) if banks is None else _read_agile(reader, banks))
    return tuple(events)


def _read_old(reader: Reader) -> Event:
    """Read a TCG_PCClientPCREvent."""
    index, type_ = reader.little(4), reader.little(4)
    digest = reader.take(_SHA1_SIZE)
    return _event(index, type_, {"sha1": digest}, reader.take(reader.little(4)))


def _read_agile(reader: Reader, banks: Mapping[int, int]) -> Event:
    """Read a TCG_PCR_EVENT2; `banks` are digest sizes by algorithm, as the header lists them."""
    index, type_ = reader.little(4), reader.little(4)
    count = reader.little(4)
    if not 1 <= count <= len(banks):
        raise MalformedMessage(f"event has {count} digests, want 1 to {len(banks)}")
    seen: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = reader.little(2)
        if algorithm not in banks or algorithm in seen:
            raise MalformedMessage(
                f"event has digest 0x{algorithm:04x}, twice, or that the header does not list"
            )
        seen[algorithm] = reader.take(banks[algorithm])
    digests = {ALGORITHMS[number]: seen[number] for number in seen if number in ALGORITHMS}
    return _event(index, type_, digests, reader.take(reader.little(4)))


def _event(index: int, type_: int, digests: dict[str, bytes], data: bytes) -> Event:
    # Some events that extend nothing are said to belong to no register at all (0xffffffff).
    if index > LAST_REGISTER and type_ != EV_NO_ACTION:
        raise MalformedMessage(f"event is for register {index}, want 0 to {LAST_REGISTER}")
    return Event(index=index, type=type_, digests=MappingProxyType(digests), data=data)


def _read_spec_id(event: Event) -> dict[int, int]:
    """Return the digest sizes by algorithm that a TCG_EfiSpecIdEvent lists."""
    reader = Reader(event.data, "spec id event")
    reader.take(len(_SPEC_ID))
    reader.take(4)  # platform class: firmware of virtual machines says client or server at will
    minor, major, _errata, uintn = (reader.little(1) for _ in range(4))
    if (major, minor) != (2, 0) or uintn not in _UINTN_SIZES:
        raise MalformedMessage(f"event log is of version {major}.{minor}, want 2.0")
    count = reader.little(4)
    if not 1 <= count <= _MAX_BANKS:
        raise MalformedMessage(f"event log has {count} algorithms, want 1 to {_MAX_BANKS}")
    banks: dict[int, int] = {}
    for _ in range(count):
        algorithm, size = reader.little(2), reader.little(2)
        known = SIZES.get(ALGORITHMS.get(algorithm, ""), _OTHER_SIZES.get(algorithm))
        if known != size or algorithm in banks:
            raise MalformedMessage(
                f"event log lists algorithm 0x{algorithm:04x} of {size} bytes, unknown or twice"
            )
        banks[algorithm] = size
    reader.take(reader.little(1))  # vendor information
    reader.finish()
    return banks


def replay(
    events: Iterable[Event], algorithm: str, *, initial: Mapping[int, bytes] = MappingProxyType({})
) -> dict[int, bytes]:
    """Return the registers that `events` lead to: those that were extended, no others.

    Args:
        events: in the log's order.
        algorithm: `sha1`, `sha256`, `sha384` or `sha512`.
        initial: what a register held at first, where it was not all zeros. A `StartupLocality`
            event sets PCR 0 and needs no entry.

    Raises:
        MalformedMessage: an event lacks this digest, or a startup locality is unknown, comes twice
            or too late.
    """
    size = SIZES[algorithm]
    registers: dict[int, bytes] = {}
    start = dict(initial)
    for event in events:
        if not event.extends:
            if event.data.startswith(_STARTUP_LOCALITY):
                if 0 in registers or 0 in start:
                    raise MalformedMessage("event log has a startup locality after PCR 0 began")
                start[0] = _locality(event, size)
            continue
        digest = event.digests.get(algorithm)
        if digest is None:
            raise MalformedMessage(f"event log has an event without a {algorithm} digest")
        before = registers.get(event.index, start.get(event.index, bytes(size)))
        registers[event.index] = hashlib.new(algorithm, before + digest).digest()
    return registers


def _locality(event: Event, size: int) -> bytes:
    """Return the first value of PCR 0: zeros, and the locality of TPM2_Startup in the last byte."""
    locality = event.data[len(_STARTUP_LOCALITY) :]
    if event.index != 0 or len(locality) != 1 or locality[0] not in _LOCALITIES:
        raise MalformedMessage("event log has a startup locality that is not 0, 3 or 4, of PCR 0")
    return bytes(size - 1) + locality
