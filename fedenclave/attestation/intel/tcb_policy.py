"""What a policy says about an Intel platform, SGX or TDX alike: which machines, how up to date.

Only the status `UpToDate` passes by itself; each other status is an exception of its own, which a
policy must name, and `Revoked` passes by none. Advisories that apply must be listed besides.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import EXCEPTION_OF, TCB_EXCEPTIONS, UP_TO_DATE
from fedenclave.attestation.intel.verified import VerifiedQuote
from fedenclave.attestation.pins import take_hexes_or_any
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

ALWAYS = frozenset(
    {"platform", "tcb evaluation data number", "tcb status", "qe tcb status", "advisories"}
)
_ADVISORY = re.compile(r"INTEL-[A-Z]{2,4}-\d{5}")

TEMPLATE = """\
# The machines, by platform id: `ppid` or `platform-instance-id` of `fedenclave attest inspect`,
# 32 hex digits; or ["any"] for every machine that Intel vouches for.
platforms = ["any"]
# Intel's number of the TCB recovery that must be taken into account at least; it is in the TCB
# info and only grows. Take that of the collateral you fetched, and raise it after a recovery.
min_tcb_evaluation_data_number = 17
# Security advisories that may apply, such as "INTEL-SA-00615"; an up-to-date platform has none.
advisories = []
"""


def exceptions_template(own: str, names: frozenset[str]) -> str:
    """Return the end of a format's template: its exceptions, `own` explained, and none named."""
    text = f"What may be otherwise than it should; the result is then a warning. {own} "
    text += "Statuses of the TCB: " + ", ".join(sorted(names & TCB_EXCEPTIONS)) + "."
    lines = textwrap.wrap(text, 98, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines) + "exceptions = []\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbPins:
    """`platforms` is None for every machine."""

    platforms: tuple[bytes, ...] | None
    min_evaluation_number: int
    advisories: frozenset[str]


def take_tcb_pins(table: Table) -> TcbPins:
    """Return the pins, taken from a format's table.

    Raises:
        ConfigurationError: one is missing or wrong.
    """
    platforms = take_hexes_or_any(table, "platforms", sizes=(16,))
    number = table.take_int("min_tcb_evaluation_data_number", low=1, high=2**32 - 1)
    advisories = table.take_texts("advisories")
    for advisory in advisories:
        if not _ADVISORY.fullmatch(advisory):
            raise ConfigurationError(
                f"{table.where} advisories has {advisory[:40]!r}, want names such as INTEL-SA-00615"
            )
    return TcbPins(
        platforms=platforms, min_evaluation_number=number, advisories=frozenset(advisories)
    )


def check_tcb(checklist: Checklist, verified: VerifiedQuote, pins: TcbPins) -> None:
    """Compare machine and TCB of a verified quote with the policy."""
    platform = verified.chain.extension
    ids = [each for each in (platform.ppid, platform.platform_instance_id) if each is not None]
    checklist.want(
        "platform",
        holds=pins.platforms is None or any(each in pins.platforms for each in ids),
        found=" ".join(each.hex() for each in ids),
        wanted="any" if pins.platforms is None else _hex_or(pins.platforms),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it runs on a machine that the policy does not name",
    )
    checklist.want(
        "tcb evaluation data number",
        holds=verified.evaluation_number >= pins.min_evaluation_number,
        found=verified.evaluation_number,
        wanted=f"at least {pins.min_evaluation_number}",
        trust=Trust.HARDWARE,
        hint="the collateral does not know of the newest TCB recovery: fetch it again",
    )
    _check_status(checklist, "tcb status", verified.tcb.status)
    if verified.tcb.current != verified.tcb.status:
        _check_status(checklist, "current tcb status", verified.tcb.current)
    _check_status(checklist, "qe tcb status", verified.tcb.qe)
    unlisted = [each for each in verified.tcb.advisories if each not in pins.advisories]
    checklist.want(
        "advisories",
        holds=not unlisted,
        found=" ".join(verified.tcb.advisories) or "none apply",
        wanted=" ".join(sorted(pins.advisories)) or "none",
        trust=Trust.HARDWARE,
        hint="read what they say, and list them in advisories if they do not matter here",
    )


def _check_status(checklist: Checklist, name: str, status: str) -> None:
    exception = EXCEPTION_OF.get(status, "")
    checklist.want(
        name,
        holds=status == UP_TO_DATE,
        found=status,
        wanted=UP_TO_DATE,
        trust=Trust.HARDWARE,
        hint=f"update its firmware and microcode, or name the exception {exception}",
        exception=exception,
    )


def _hex_or(values: tuple[bytes, ...]) -> str:
    return " or ".join(value.hex() for value in values)
