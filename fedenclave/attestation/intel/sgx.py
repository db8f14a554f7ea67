"""Appraise SGX evidence: a DCAP quote of version 3, with the PCK chain in it.

What holds afterwards: an enclave with the pinned measurement or signer, not in debug mode, on a
machine that Intel vouches for at a TCB that the policy accepts, put these 64 bytes into its report.

Not here: EPID quotes, quotes of version 4 or 5 for SGX, other certification data than type 5.

Source: Intel SGX ECDSA Quote Library Reference for DCAP API, appendix A.4; Intel Software
Developer's Manual, volume 3D, "enclave attributes", REPORT and key separation and sharing.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.intel import platform_claims, tcb_policy, verify
from fedenclave.attestation.intel.quote import (
    SGX_TEE,
    EnclaveReport,
    looks_like_quote,
    parse_quote,
)
from fedenclave.attestation.intel.sgx_policy import (
    ALWAYS,
    DEBUG,
    EXCEPTIONS,
    TEMPLATE,
    SgxPins,
    check_enclave,
    read_policy,
)
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.digests import equal

QUOTE = "quote"
VERSIONS = (3,)
_DEBUG_MESSAGE = "Debug mode is enabled"
"""How dcap-qvl refuses a debug enclave, which the check `debug` judges here."""


def appraise(
    root: x509.Certificate, parts: Parts, pins: SgxPins, question: Question, checklist: Checklist
) -> Claims:
    """Return the claims of a quote that satisfies the policy; verify.py has the order."""
    quote = parse_quote(parts[QUOTE], VERSIONS, SGX_TEE)
    chain = verify.verify_signatures(checklist, quote, question.now, root)
    enclave = quote.enclave
    debug = bool(enclave.flags & DEBUG)
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
        found=enclave.report_data.hex(),
        wanted=question.bound.hex(),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else",
    )
    check_enclave(checklist, enclave, pins)
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
        "dbgstat": "enabled" if enclave.flags & DEBUG else "disabled",
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
        always=verify.ALWAYS | tcb_policy.ALWAYS | ALWAYS | {"debug", "report data"},
        template=TEMPLATE,
        read_policy=read_policy,
        bind=same_bytes,
        appraise=lambda parts, pins, question, checklist: appraise(
            root, parts, pins, question, checklist
        ),
        inspect=inspect,
        recognise=recognise,
    )


FORMAT = make_format(pinned("intel-sgx")[0])
