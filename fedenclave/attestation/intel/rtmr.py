"""The event log of a TD (ACPI table CCEL) against its runtime measurement registers (RTMR).

A log is not signed. Its digests count only as far as they lead to the quoted registers, so:
  * every register that the log has events for must come out exactly as quoted;
  * an event's data is claimed only where its digest is over just that data, else only its digest;
    its type is never claimed, as nothing vouches for it. What is not claimed decides nothing.

A policy pins a register either by its values, or by its events, each of which must be there, and
none besides: that is for registers that hold what differs from machine to machine.

Source: Intel TDX Virtual Firmware Design Guide, 344991 (measurement registers, event log); UEFI
2.10, chapter 38 "Confidential Computing" (register 0 is MRTD, 1 to 4 are RTMR 0 to 3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.event_log import Event, parse_event_log, replay
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import Table

REGISTERS = 4
EVENTS, ANY = "events", "any"
ALGORITHM = "sha384"
_EVENT = re.compile(r"rtmr([0-3]):([0-9a-f]{96}(?:\|[0-9a-f]{96})*)")
_VALUE = re.compile(r"[0-9a-f]{96}")
_SHOWN_DATA = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RtmrPins:
    """What a policy says about the four registers.

    Attributes:
        values: by register: the values that will do, or `EVENTS`, or `ANY`.
        events: by register: events that must be there, each a set of digests of which one will do.
    """

    values: tuple[frozenset[bytes] | str, ...]
    events: Mapping[int, tuple[frozenset[bytes], ...]]

    @property
    def need_log(self) -> bool:
        """Whether the policy cannot be judged without an event log."""
        return bool(self.events) or EVENTS in self.values


def take_rtmr_pins(table: Table) -> RtmrPins:
    """Return the pins `rtmr0` to `rtmr3` and `events`, taken from a format's table.

    Raises:
        ConfigurationError: one is missing or wrong, or a register is pinned by events and none is
            given.
    """
    values = tuple(_take_values(table, f"rtmr{number}") for number in range(REGISTERS))
    events: dict[int, tuple[frozenset[bytes], ...]] = {}
    for text in table.take_texts("events"):
        match = _EVENT.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"{table.where} events has {text[:60]!r}, want rtmr0: to rtmr3: and 96 lower-case "
                "hex digits, alternatives divided by |"
            )
        digests = frozenset(bytes.fromhex(digest) for digest in match[2].split("|"))
        number = int(match[1])
        events[number] = (*events.get(number, ()), digests)
    for number, value in enumerate(values):
        if value == EVENTS and number not in events:
            raise ConfigurationError(
                f"{table.where} pins rtmr{number} by events, and events has none for it"
            )
    return RtmrPins(values=values, events=events)


def _take_values(table: Table, key: str) -> frozenset[bytes] | str:
    texts = table.take_texts(key)
    if texts in ((EVENTS,), (ANY,)):
        return texts[0]
    if not texts or not all(_VALUE.fullmatch(text) for text in texts):
        raise ConfigurationError(
            f"{table.where} {key} is {' '.join(texts)[:100]!r}, want values of 96 lower-case hex "
            'digits, or ["events"], or ["any"]'
        )
    return frozenset(bytes.fromhex(text) for text in texts)


def read_log(log: bytes) -> tuple[tuple[Event, ...], dict[int, bytes]]:
    """Return the events that extend a register, and what they lead to: by register, 1 to 4.

    Raises:
        MalformedMessage: it is no log of a TD.
    """
    events = tuple(event for event in parse_event_log(log) if event.extends)
    for event in events:
        if not 1 <= event.index <= REGISTERS:
            raise MalformedMessage(f"event log has an event for register {event.index} of a td")
    # An event without a digest of this kind is an error of the replay.
    return events, replay(events, ALGORITHM)


def replay_log(checklist: Checklist, log: bytes, rtmrs: Sequence[bytes]) -> tuple[Event, ...]:
    """Return the log's events, once they lead to the quoted registers.

    Args:
        checklist: where the check `event log` goes.
        log: the CCEL area, with or without its fill.
        rtmrs: the four quoted registers.

    Raises:
        EvidenceRefused: a register comes out otherwise.
        MalformedMessage: it is no such log.
    """
    events, registers = read_log(log)
    wrong = [f"rtmr{i - 1}" for i, value in sorted(registers.items()) if value != rtmrs[i - 1]]
    checklist.must(
        "event log",
        holds=not wrong,
        found=f"does not lead to {', '.join(wrong)}"
        if wrong
        else f"{len(events)} events, replayed",
        wanted="a log that leads to the quoted registers",
        trust=Trust.EXECUTABLES,
        hint="it was changed, or belongs to another boot of the machine",
    )
    return events


def check_rtmrs(
    checklist: Checklist,
    rtmrs: Sequence[bytes],
    events: Sequence[Event] | None,
    pins: RtmrPins,
) -> None:
    """Compare registers and events with the policy.

    Args:
        checklist: where the checks `rtmr0` to `rtmr3` and `events` go.
        rtmrs: the four quoted registers.
        events: what `replay_log` returned; None if the evidence has no log.
        pins: the policy.
    """
    checklist.want(
        "events",
        holds=events is not None or not pins.need_log,
        found="no event log" if events is None else f"{len(events)} events",
        wanted="an event log, as the policy pins events" if pins.need_log else "none needed",
        trust=Trust.EXECUTABLES,
        hint="give it as the part event-log: /sys/firmware/acpi/tables/data/CCEL",
    )
    for number in range(REGISTERS):
        _check_rtmr(checklist, number, rtmrs[number], events, pins)


def _check_rtmr(
    checklist: Checklist,
    number: int,
    quoted: bytes,
    events: Sequence[Event] | None,
    pins: RtmrPins,
) -> None:
    value, required = pins.values[number], pins.events.get(number, ())
    extended = [event.digests[ALGORITHM] for event in events or () if event.index == number + 1]
    absent = sum(1 for digests in required if not digests.intersection(extended))
    known = frozenset().union(*required)
    unknown = [digest for digest in extended if digest not in known]
    problem = ""
    if absent:
        problem = f"{absent} pinned events are not in the log"
    elif value == EVENTS and unknown:
        problem = f"{len(unknown)} events are not pinned, first {unknown[0].hex()}"
    elif isinstance(value, frozenset) and quoted not in value:
        problem = quoted.hex()
    wanted = "any" if value == ANY else f"{len(required)} pinned events and no other"
    if isinstance(value, frozenset):
        wanted = " or ".join(sorted(each.hex() for each in value))
    checklist.want(
        f"rtmr{number}",
        holds=not problem,
        found=problem or quoted.hex(),
        wanted=wanted,
        trust=Trust.EXECUTABLES,
        hint="firmware, boot loader, kernel or configuration are not what the policy pins",
    )


def event_claims(events: Sequence[Event]) -> list[dict[str, object]]:
    """Return register and digest of every event, and its data where the digest vouches for it."""
    claims = []
    for event in events:
        claim: dict[str, object] = {
            "rtmr": event.index - 1,
            "digest": event.digests[ALGORITHM].hex(),
        }
        if event.covers_data(ALGORITHM) and len(event.data) <= _SHOWN_DATA:
            claim["data"] = event.data.hex()
        claims.append(claim)
    return claims
