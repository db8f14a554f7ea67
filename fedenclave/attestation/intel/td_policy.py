"""What a policy says about a trust domain (TD), and the comparison with its report.

The attributes of a TD, byte order as in the quote, bit 0 first: bits 0 to 7 make it a TD under
debug (0 debug, 4 to 6 profiling), bits 8 to 31 matter for security, 32 to 63 do not. A policy pins
all 64 as values; besides, what would give the TD away needs an exception of its own, so that a
pin which was copied from a debug TD does not pass unseen. A service TD needs both as well: the
exception, and its MRSERVICETD among the pins.

Source: Intel TDX Module ABI Specification, 348551-008, table 3.23 (TD attributes); Intel TDX
Module Base Specification, 348549 (measurements, service TDs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import TCB_EXCEPTIONS
from fedenclave.attestation.event_log import Event
from fedenclave.attestation.intel import rtmr, tcb_policy
from fedenclave.attestation.intel.quote import TdReport
from fedenclave.attestation.pins import take_hexes, take_hexes_or_any
from fedenclave.attestation.result import Trust
from fedenclave.protocol.toml_table import Table

_DEBUG, _PROFILING = 1 << 0, 0b111 << 4
_SERVTD_EXT, _SEPT_VE_DISABLE, _MIGRATABLE = 1 << 17, 1 << 28, 1 << 29
_RESERVED = 0b111 << 1 | sum(1 << bit for bit in (*range(7, 16), *range(23, 27), *range(32, 62)))
"""Bits that a verifier must find zero, whatever a later module may mean by them; no exception."""

MRSERVICETD_SIZE = 48
EXCEPTIONS = frozenset({"debug", "migratable", "service-td", "sept-ve"}) | TCB_EXCEPTIONS
ALWAYS = frozenset(
    {
        "reserved attributes",
        "debug",
        "migratable",
        "service td",
        "sept ve disable",
        "mrtd",
        "mrseam",
        "td attributes",
        "xfam",
        "mrconfigid",
        "mrowner",
        "mrownerconfig",
        "mrservicetd",
        "events",
        *(f"rtmr{number}" for number in range(rtmr.REGISTERS)),
    }
)

TEMPLATE = f"""\
# The TD's first memory, which is its virtual firmware: MRTD, 96 hex digits.
mrtd = ["{"00" * 48}"]
# What ran since: RTMR0 firmware configuration, RTMR1 boot loader and kernel, RTMR2 command line
# and initial ram disk, RTMR3 free for the guest. Values of 96 hex digits; or ["events"], to be
# judged by the event log and the pins below; or ["any"].
rtmr0 = ["{"00" * 48}"]
rtmr1 = ["{"00" * 48}"]
rtmr2 = ["{"00" * 48}"]
rtmr3 = ["{"00" * 48}"]
# Events that the event log must hold, "rtmr1:DIGEST" (SHA-384, 96 hex digits), or
# "rtmr1:DIGEST|DIGEST" where one of several will do. A register ["events"] holds no others.
events = []
# The TDX module, MRSEAM, 96 hex digits; or ["any"] that Intel's TCB info accepts.
mrseam = ["any"]
# TD attributes as in the quote, 16 hex digits: these are septve-disable and nothing else.
td_attributes = ["0000001000000000"]
# Processor extensions that the TD may use, XFAM, 16 hex digits each.
xfam = ["e702060000000000"]
# What the host passed in when it made the TD, 96 hex digits each; zeros: nothing.
mrconfigid = ["{"00" * 48}"]
mrowner = ["{"00" * 48}"]
mrownerconfig = ["{"00" * 48}"]
# What is bound to the TD besides, such as a migration TD: MRSERVICETD, 96 hex digits; zeros: none.
# Another value needs the exception service-td too.
mrservicetd = ["{"00" * 48}"]
{tcb_policy.TEMPLATE}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TdPins:
    """The policy; None stands for `["any"]`."""

    mrtd: tuple[bytes, ...]
    rtmrs: rtmr.RtmrPins
    mrseam: tuple[bytes, ...] | None
    td_attributes: tuple[bytes, ...]
    xfam: tuple[bytes, ...]
    mrconfigid: tuple[bytes, ...]
    mrowner: tuple[bytes, ...]
    mrownerconfig: tuple[bytes, ...]
    mrservicetd: tuple[bytes, ...]
    tcb: tcb_policy.TcbPins


def take_td_pins(table: Table) -> TdPins:
    """Return the pins, taken from a format's table.

    Raises:
        ConfigurationError: one is missing or wrong.
    """
    return TdPins(
        mrtd=take_hexes(table, "mrtd", sizes=(48,)),
        rtmrs=rtmr.take_rtmr_pins(table),
        mrseam=take_hexes_or_any(table, "mrseam", sizes=(48,)),
        td_attributes=take_hexes(table, "td_attributes", sizes=(8,)),
        xfam=take_hexes(table, "xfam", sizes=(8,)),
        mrconfigid=take_hexes(table, "mrconfigid", sizes=(48,)),
        mrowner=take_hexes(table, "mrowner", sizes=(48,)),
        mrownerconfig=take_hexes(table, "mrownerconfig", sizes=(48,)),
        mrservicetd=take_hexes(table, "mrservicetd", sizes=(48,)),
        tcb=tcb_policy.take_tcb_pins(table),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Danger:
    """Something that gives a TD away, and how dcap-qvl refuses it."""

    name: str
    found: bool
    wanted: str
    hint: str
    exception: str = ""
    trust: Trust = Trust.CONFIGURATION
    messages: Mapping[str, bool]


def check_lifecycle(checklist: Checklist, td: TdReport) -> tuple[str, ...]:
    """Check what would give the TD away: debug, migration, service TDs, pending pages.

    Returns:
        The messages with which dcap-qvl refuses the very things that were found here.
    """
    service = "absent" if td.mrservicetd is None else td.mrservicetd.hex()
    said: list[str] = []
    for danger in _dangers(td):
        shown = f"td attributes {td.td_attributes.hex()}"
        checklist.want(
            danger.name,
            holds=not danger.found,
            found=f"{shown}, mrservicetd {service}" if danger.found else shown,
            wanted=danger.wanted,
            trust=danger.trust,
            hint=danger.hint,
            exception=danger.exception,
        )
        said += [message for message, is_so in danger.messages.items() if is_so]
    return tuple(said)


def _dangers(td: TdReport) -> tuple[_Danger, ...]:
    attributes = int.from_bytes(td.td_attributes, "little")

    def has(bits: int) -> bool:
        return bool(attributes & bits)

    service, pending = any(service_td(td)), not has(_SEPT_VE_DISABLE)
    return (
        _Danger(
            name="reserved attributes",
            found=has(_RESERVED),
            wanted="no reserved bit",
            hint="a newer version may know what it means",
            messages={"Reserved bits in TD attributes are set": has(_RESERVED)},
        ),
        _Danger(
            name="debug",
            found=has(_DEBUG | _PROFILING),
            wanted="neither debug nor profiling",
            hint="the host can read all that the td holds",
            exception="debug",
            messages={
                "Debug mode is enabled": has(_DEBUG),
                "TD profiling is enabled": has(_PROFILING),
            },
        ),
        _Danger(
            name="migratable",
            found=has(_MIGRATABLE),
            wanted="not migratable",
            hint="a migration td could carry it to a machine that nobody appraised",
            exception="migratable",
            messages={"TD migration is enabled": has(_MIGRATABLE)},
        ),
        _Danger(
            name="service td",
            found=service or has(_SERVTD_EXT),
            wanted="no service td",
            hint="a td that is not this one is bound to it, and may read or write its state; to "
            "accept it, pin it as mrservicetd and except service-td",
            exception="service-td",
            trust=Trust.RUNTIME_OPAQUE,
            messages={
                "Invalid MR service TD": service,
                "SERVTD_EXT is enabled": has(_SERVTD_EXT),
            },
        ),
        _Danger(
            name="sept ve disable",
            found=pending,
            wanted="bit 28: no exception handler runs on pages that the host took away",
            hint="the host can make the td's kernel run its #VE handler anywhere",
            exception="sept-ve",
            trust=Trust.RUNTIME_OPAQUE,
            messages={"SEPT_VE_DISABLE is not enabled": pending},
        ),
    )


def service_td(td: TdReport) -> bytes:
    """Return MRSERVICETD: zeros if nothing is bound to the TD.

    TD report 1.0 does not have it. Intel's quoting enclave makes one only from a TDREPORT of
    version 0, and a TD to which a service TD is bound has version 1.
    """
    return bytes(MRSERVICETD_SIZE) if td.mrservicetd is None else td.mrservicetd


def check_td(
    checklist: Checklist, td: TdReport, events: Sequence[Event] | None, pins: TdPins
) -> None:
    """Compare a verified TD report with the policy; `events` as `rtmr.check_rtmrs` takes them."""
    _want(checklist, "mrtd", td.mrtd, pins.mrtd, Trust.EXECUTABLES)
    rtmr.check_rtmrs(checklist, td.rtmrs, events, pins.rtmrs)
    _want(checklist, "mrseam", td.mrseam, pins.mrseam, Trust.HARDWARE)
    _want(checklist, "td attributes", td.td_attributes, pins.td_attributes, Trust.CONFIGURATION)
    _want(checklist, "xfam", td.xfam, pins.xfam, Trust.CONFIGURATION)
    _want(checklist, "mrconfigid", td.mrconfigid, pins.mrconfigid, Trust.CONFIGURATION)
    _want(checklist, "mrowner", td.mrowner, pins.mrowner, Trust.CONFIGURATION)
    _want(checklist, "mrownerconfig", td.mrownerconfig, pins.mrownerconfig, Trust.CONFIGURATION)
    _want(checklist, "mrservicetd", service_td(td), pins.mrservicetd, Trust.RUNTIME_OPAQUE)


def _want(
    checklist: Checklist, name: str, found: bytes, pins: tuple[bytes, ...] | None, trust: Trust
) -> None:
    checklist.want(
        name,
        holds=pins is None or found in pins,
        found=found,
        wanted="any" if pins is None else " or ".join(pin.hex() for pin in pins),
        trust=trust,
        hint="it is not what the policy pins",
    )
