"""Appraise TDX evidence: a quote of version 4 or 5 with the PCK chain in it, perhaps an event log.

What holds afterwards: a trust domain with the pinned firmware and boot, made with the pinned
attributes, on a machine that Intel vouches for at a TCB that the policy accepts, put these 64 bytes
into its report.

Not here: TD report 1.5 extended (body type 4), other certification data than type 5, Azure's
evidence, whose report data holds something else: azure/ calls `verify_td_quote`, compares the
report data itself, and then calls `td_policy.check_td` and `tcb_policy.check_tcb`.

Source: Intel TDX DCAP Quote Generation and Verification Library, appendix A.3 and A.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cryptography import x509

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.intel import platform_claims, rtmr, tcb_policy, td_policy, verify
from fedenclave.attestation.intel.quote import TDX_TEE, TdReport, looks_like_quote, parse_quote
from fedenclave.attestation.intel.verified import VerifiedQuote
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.digests import equal
from fedenclave.protocol.toml_table import Table

QUOTE, EVENT_LOG = "quote", "event-log"
VERSIONS = (4, 5)
IDENTIFIERS = platform_claims.IDENTIFIERS | {"mrseam", "service-td"}
LEVELS = platform_claims.LEVELS | {"tdx-module-svn", "tdx-module-version", "tdx-late-microcode"}
"""The last three are bytes 0, 1 and 2 of the TEE TCB SVNs."""
ALWAYS = verify.ALWAYS | tcb_policy.ALWAYS | td_policy.ALWAYS | {"tdx module"}
ROOT = pinned("intel-sgx")[0]

_TEMPLATE = f"""\
# tdx: a trust domain's quote, and its event log if events are pinned.
[attestation.tdx]
{td_policy.TEMPLATE}\
{
    tcb_policy.exceptions_template(
        "debug: the host can read the td's memory, for tests only. migratable: a migration td can "
        "move it. service-td: the td that mrservicetd names is bound to it. sept-ve: "
        "septve-disable is off.",
        td_policy.EXCEPTIONS,
    )
}"""


def read_policy(table: Table) -> td_policy.TdPins:
    """Return the pins."""
    return td_policy.take_td_pins(table)


def verify_td_quote(
    checklist: Checklist,
    data: bytes,
    question: Question,
    root: x509.Certificate,
    *,
    event_log: bytes | None = None,
) -> VerifiedQuote:
    """Return the TD quote in `data`, verified up to `root`; verify.py has the order.

    What the caller still owes: report data, `td_policy.check_td`, `tcb_policy.check_tcb`.

    Args:
        checklist: where the checks go.
        data: the quote; zeros may follow it.
        question: for the time and the collateral; what must be bound is not looked at.
        root: the pinned root.
        event_log: the CCEL area, if the evidence has it.

    Raises:
        EvidenceRefused: a check does not hold.
        MalformedMessage: it is no TD quote, byte for byte, or no event log of a TD.
    """
    quote = parse_quote(data, VERSIONS, TDX_TEE)
    chain = verify.verify_signatures(checklist, quote, question.now, root)
    judged = td_policy.check_lifecycle(checklist, quote.td)
    events = None if event_log is None else rtmr.replay_log(checklist, event_log, quote.td.rtmrs)
    verified = verify.verify_endorsed(checklist, question, quote, chain, root, judged)
    return replace(verified, events=events)


def appraise(
    root: x509.Certificate,
    parts: Parts,
    pins: td_policy.TdPins,
    question: Question,
    checklist: Checklist,
) -> Claims:
    """Return the claims of a quote that satisfies the policy."""
    verified = verify_td_quote(
        checklist, parts[QUOTE], question, root, event_log=parts.get(EVENT_LOG)
    )
    td = verified.quote.td
    checklist.want(
        "report data",
        holds=equal(td.report_data, question.bound),
        found=td.report_data.hex(),
        wanted=question.bound.hex(),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else",
    )
    td_policy.check_td(checklist, td, verified.events, pins)
    tcb_policy.check_tcb(checklist, verified, pins.tcb)
    return claims_of(verified)


def claims_of(verified: VerifiedQuote) -> Claims:
    """Return the claims of a verified TD quote."""
    td = verified.quote.td
    claims = {**td_claims(td), **platform_claims.platform_claims(verified)}
    if verified.events is not None:
        claims["events"] = rtmr.event_claims(verified.events)
    registers = (td.mrtd, *(value for value in td.rtmrs if any(value)))
    return Claims(
        claims=claims,
        identifiers={
            "measurement": tuple(value.hex() for value in registers),
            "mrseam": (td.mrseam.hex(),),
            # Zeros where there is none: so it is never absent, and a revocation can always be
            # judged.
            "service-td": (td_policy.service_td(td).hex(),),
            **platform_claims.platform_identifiers(verified),
        },
        levels={
            "tdx-module-svn": td.tee_tcb_svn[0],
            "tdx-module-version": td.tee_tcb_svn[1],
            "tdx-late-microcode": td.tee_tcb_svn[2],
            **platform_claims.platform_levels(verified),
        },
    )


def td_claims(td: TdReport) -> dict[str, object]:
    """Return what the TD report says, whoever signed it."""
    claims: dict[str, object] = {
        "mrtd": td.mrtd.hex(),
        **{f"rtmr{number}": value.hex() for number, value in enumerate(td.rtmrs)},
        "mrseam": td.mrseam.hex(),
        "mrsignerseam": td.mrsignerseam.hex(),
        "seam-attributes": td.seam_attributes.hex(),
        "td-attributes": td.td_attributes.hex(),
        "xfam": td.xfam.hex(),
        "mrconfigid": td.mrconfigid.hex(),
        "mrowner": td.mrowner.hex(),
        "mrownerconfig": td.mrownerconfig.hex(),
        "tee-tcb-svn": td.tee_tcb_svn.hex(),
        "dbgstat": "enabled" if td.td_attributes[0] else "disabled",
        "report-data": td.report_data.hex(),
    }
    if td.tee_tcb_svn2 is not None and td.mrservicetd is not None:
        claims["tee-tcb-svn-2"] = td.tee_tcb_svn2.hex()
        claims["mrservicetd"] = td.mrservicetd.hex()
    return claims


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the quote and the event log claim, without any check."""
    quote = parse_quote(parts[QUOTE], VERSIONS, TDX_TEE)
    claims = {
        "quote-version": quote.version,
        **td_claims(quote.td),
        **platform_claims.unverified_platform(quote),
    }
    if EVENT_LOG in parts:
        events, registers = rtmr.read_log(parts[EVENT_LOG])
        claims["events"] = rtmr.event_claims(events)
        claims |= {f"event-log-rtmr{i - 1}": value.hex() for i, value in registers.items()}
    return claims


def recognise(data: bytes) -> Parts | None:
    """Return the quote as a part if `data` begins as one."""
    return {QUOTE: data} if looks_like_quote(data, VERSIONS, TDX_TEE) else None


def make_format(root: x509.Certificate) -> Format[td_policy.TdPins]:
    """Return the format for quotes whose chain leads to `root`."""
    return Format(
        name="tdx",
        title="Intel TDX",
        source="Intel TDX DCAP Quote Generation and Verification Library, appendix A.3 (quote 4) "
        "and A.4 (quote 5)",
        required=frozenset({QUOTE}),
        optional=frozenset({EVENT_LOG}),
        exceptions=td_policy.EXCEPTIONS,
        identifiers=IDENTIFIERS,
        levels=LEVELS,
        always=ALWAYS | {"report data"},
        template=_TEMPLATE,
        read_policy=read_policy,
        bind=same_bytes,
        appraise=lambda parts, pins, question, checklist: appraise(
            root, parts, pins, question, checklist
        ),
        inspect=inspect,
        recognise=recognise,
    )


FORMAT = make_format(ROOT)
