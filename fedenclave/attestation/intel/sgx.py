"""Appraise SGX evidence: a DCAP quote of version 3, with the PCK chain in it.

What holds afterwards: an enclave with the pinned measurement or signer, not in debug mode, on a
machine that Intel vouches for at a TCB that the policy accepts, put these 64 bytes into its report.

Not here: EPID quotes, quotes of version 4 or 5 for SGX, other certification data than type 5.

Source: Intel SGX ECDSA Quote Library Reference for DCAP API, appendix A.4; Intel Software
Developer's Manual, volume 3D, "enclave attributes", REPORT and key separation and sharing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import TCB_EXCEPTIONS
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.intel import platform_claims, tcb_policy, verify
from fedenclave.attestation.intel.quote import (
    SGX_TEE,
    EnclaveReport,
    looks_like_quote,
    parse_quote,
)
from fedenclave.attestation.pins import take_hex, take_hexes, take_hexes_or_any
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.digests import equal
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

QUOTE = "quote"
VERSIONS = (3,)

_INIT, _DEBUG, _MODE64 = 1 << 0, 1 << 1, 1 << 2
"""Bits of the enclave's attribute flags."""

_DEBUG_MESSAGE = "Debug mode is enabled"
"""How dcap-qvl refuses a debug enclave, which the check `debug` judges here."""

EXCEPTIONS = frozenset({"debug"}) | {
    name for name in TCB_EXCEPTIONS if not name.startswith("td-relaunch")
}
_TEMPLATE = f"""\
# sgx: an enclave's DCAP quote.
[attestation.sgx]
# The enclave's measurement, 64 hex digits: `MRENCLAVE` of `gramine-sgx-sigstruct-view` or
# `sgx_sign dump`. Or ["any"], and then the signer must be pinned.
mrenclave = ["{"00" * 32}"]
# SHA-256 of the signer's RSA modulus, 64 hex digits: `MRSIGNER` there. Or ["any"].
mrsigner = ["any"]
# Product id and least security version, as the signer wrote them into the enclave.
isv_prod_id = 0
min_isv_svn = 0
# What the loader passes in (key separation and sharing), 128 hex digits; zeros: nothing.
config_id = "{"00" * 64}"
# Attribute flags as in the quote, 16 hex digits: 05 is initialised and 64-bit, 85 the same with
# key separation and sharing.
flags = ["0500000000000000"]
# Processor extensions that the enclave may use (XFRM), 16 hex digits each; or ["any"].
xfrm = ["any"]
# Extensions of saved state (MISCSELECT), 8 hex digits each.
misc_select = ["00000000"]
{tcb_policy.TEMPLATE}\
{
    tcb_policy.exceptions_template(
        "debug: the host can read the enclave's memory, for tests only.", EXCEPTIONS
    )
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxPins:
    """The policy; None stands for `["any"]`."""

    mrenclave: tuple[bytes, ...] | None
    mrsigner: tuple[bytes, ...] | None
    isv_prod_id: int
    min_isv_svn: int
    config_id: bytes
    flags: tuple[bytes, ...]
    xfrm: tuple[bytes, ...] | None
    misc_select: tuple[bytes, ...]
    tcb: tcb_policy.TcbPins


def read_policy(table: Table) -> SgxPins:
    """Return the pins.

    Raises:
        ConfigurationError: one is missing or wrong, or neither enclave nor signer is pinned.
    """
    pins = SgxPins(
        mrenclave=take_hexes_or_any(table, "mrenclave", sizes=(32,)),
        mrsigner=take_hexes_or_any(table, "mrsigner", sizes=(32,)),
        isv_prod_id=table.take_int("isv_prod_id", low=0, high=2**16 - 1),
        min_isv_svn=table.take_int("min_isv_svn", low=0, high=2**16 - 1),
        config_id=take_hex(table, "config_id", sizes=(64,)),
        flags=take_hexes(table, "flags", sizes=(8,)),
        xfrm=take_hexes_or_any(table, "xfrm", sizes=(8,)),
        misc_select=take_hexes(table, "misc_select", sizes=(4,)),
        tcb=tcb_policy.take_tcb_pins(table),
    )
    if pins.mrenclave is None and pins.mrsigner is None:
        raise ConfigurationError(
            f"{table.where} accepts any mrenclave and any mrsigner, want one of them pinned",
            hint="without both, every enclave of anybody would do",
        )
    return pins


def appraise(
    root: x509.Certificate, parts: Parts, pins: SgxPins, question: Question, checklist: Checklist
) -> Claims:
    """Return the claims of a quote that satisfies the policy; verify.py has the order."""
    quote = parse_quote(parts[QUOTE], VERSIONS, SGX_TEE)
    chain = verify.verify_signatures(checklist, quote, question.now, root)
    enclave = quote.enclave
    debug = bool(enclave.flags & _DEBUG)
    checklist.want(
        "debug",
        holds=not debug,
        found="a debug enclave" if debug else "no debug enclave",
        wanted="no debug enclave",
        trust=Trust.CONFIGURATION,
        hint="the host can read all that the enclave holds",
        exception="debug",
    )
    lax = (_DEBUG_MESSAGE,) if debug else ()
    verified = verify.verify_endorsed(checklist, question, quote, chain, root, lax)
    checklist.want(
        "report data",
        holds=equal(enclave.report_data, question.bound),
        found=enclave.report_data.hex()[:32],
        wanted=question.bound.hex()[:32],
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else",
    )
    _check_enclave(checklist, enclave, pins)
    tcb_policy.check_tcb(checklist, verified, pins.tcb)
    return Claims(
        claims={**enclave_claims(enclave), **platform_claims.platform_claims(verified)},
        identifiers={
            "measurement": (enclave.mrenclave.hex(),),
            "mrsigner": (enclave.mrsigner.hex(),),
            **platform_claims.platform_identifiers(verified),
        },
        levels={
            "isv-svn": enclave.isv_svn,
            "config-svn": enclave.config_svn,
            **platform_claims.platform_levels(verified),
        },
    )


def _check_enclave(checklist: Checklist, enclave: EnclaveReport, pins: SgxPins) -> None:
    running = _INIT | _MODE64
    checklist.want(
        "mode",
        holds=enclave.flags & running == running,
        found=f"flags {enclave.flags:#x}",
        wanted="initialised, and 64-bit",
        trust=Trust.CONFIGURATION,
    )
    _want(checklist, "mrenclave", enclave.mrenclave, pins.mrenclave, Trust.EXECUTABLES)
    _want(checklist, "mrsigner", enclave.mrsigner, pins.mrsigner, Trust.EXECUTABLES)
    checklist.want(
        "isv prod id",
        holds=enclave.isv_prod_id == pins.isv_prod_id,
        found=enclave.isv_prod_id,
        wanted=pins.isv_prod_id,
        trust=Trust.EXECUTABLES,
    )
    checklist.want(
        "isv svn",
        holds=enclave.isv_svn >= pins.min_isv_svn,
        found=enclave.isv_svn,
        wanted=f"at least {pins.min_isv_svn}",
        trust=Trust.EXECUTABLES,
        hint="the enclave is older than the policy accepts",
    )
    flags = enclave.attributes[:8]
    _want(checklist, "config id", enclave.config_id, (pins.config_id,), Trust.CONFIGURATION)
    _want(checklist, "flags", flags, pins.flags, Trust.CONFIGURATION)
    _want(checklist, "xfrm", enclave.xfrm, pins.xfrm, Trust.CONFIGURATION)
    _want(checklist, "misc select", enclave.misc_select, pins.misc_select, Trust.CONFIGURATION)


def _want(
    checklist: Checklist, name: str, found: bytes, pins: tuple[bytes, ...] | None, trust: Trust
) -> None:
    checklist.want(
        name,
        holds=pins is None or found in pins,
        found=found,
        wanted="any" if pins is None else " or ".join(pin.hex() for pin in pins),
        trust=trust,
        hint="it is not what the policy pins in [attestation.sgx]",
    )


def enclave_claims(enclave: EnclaveReport) -> dict[str, object]:
    """Return what the enclave's report says, whoever signed it."""
    return {
        "mrenclave": enclave.mrenclave.hex(),
        "mrsigner": enclave.mrsigner.hex(),
        "isv-prod-id": enclave.isv_prod_id,
        "isv-svn": enclave.isv_svn,
        "isv-ext-prod-id": enclave.isv_ext_prod_id.hex(),
        "isv-family-id": enclave.isv_family_id.hex(),
        "config-id": enclave.config_id.hex(),
        "config-svn": enclave.config_svn,
        "flags": enclave.attributes[:8].hex(),
        "xfrm": enclave.xfrm.hex(),
        "misc-select": enclave.misc_select.hex(),
        "cpu-svn": enclave.cpu_svn.hex(),
        "dbgstat": "enabled" if enclave.flags & _DEBUG else "disabled",
        "report-data": enclave.report_data.hex(),
    }


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the quote claims, without any check."""
    quote = parse_quote(parts[QUOTE], VERSIONS, SGX_TEE)
    return {**enclave_claims(quote.enclave), **platform_claims.unverified_platform(quote)}


def recognise(data: bytes) -> Parts | None:
    """Return the quote as a part if `data` begins as one."""
    return {QUOTE: data} if looks_like_quote(data, VERSIONS, SGX_TEE) else None


def make_format(root: x509.Certificate) -> Format[SgxPins]:
    """Return the format for quotes whose chain leads to `root`."""
    return Format(
        name="sgx",
        title="Intel SGX",
        source="Intel SGX ECDSA Quote Library Reference for DCAP API, appendix A.4 (quote 3)",
        required=frozenset({QUOTE}),
        exceptions=EXCEPTIONS,
        identifiers=frozenset({"mrsigner"}) | platform_claims.IDENTIFIERS,
        levels=frozenset({"isv-svn", "config-svn"}) | platform_claims.LEVELS,
        always=verify.ALWAYS
        | tcb_policy.ALWAYS
        | {
            "debug",
            "report data",
            "mode",
            "mrenclave",
            "mrsigner",
            "isv prod id",
            "isv svn",
            "config id",
            "flags",
            "xfrm",
            "misc select",
        },
        template=_TEMPLATE,
        read_policy=read_policy,
        bind=same_bytes,
        appraise=lambda parts, pins, question, checklist: appraise(
            root, parts, pins, question, checklist
        ),
        inspect=inspect,
        recognise=recognise,
    )


FORMAT = make_format(pinned("intel-sgx")[0])
