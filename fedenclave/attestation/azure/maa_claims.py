"""Appraise what a verified Azure Attestation token claims about a TEE: SGX, TDX, SEV-SNP.

Nothing here verifies a signature; maa.py has done so. Azure Attestation has judged the quote or
report, with its collateral, under the provider's policy; what it found out is compared here.

Source: as maa_policy.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeVar

from fedenclave.attestation.azure.maa_policy import (
    REPORT_DATA,
    SGX,
    SNP,
    SNP_SVNS,
    TDX,
    TDX_OTHERS,
    TDX_REGISTERS,
    USER_DATA,
    SgxPins,
    SnpPins,
    TdxPins,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import check_tcb_status
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.strict_json import JsonObject

T = TypeVar("T")

COMPLIANCE = "x-ms-compliance-status"
RUNTIME, TYPE = "x-ms-runtime", "x-ms-attestation-type"
DEBUG, MIGRATION, UNATTESTED_GUEST = "debug", "migration", "unattested-guest"
EXCEPTIONS = frozenset({DEBUG, MIGRATION, UNATTESTED_GUEST})
IDENTIFIERS = frozenset({"certificate", "measurement", "mrsigner"})
LEVELS = frozenset({"isvsvn", "seamsvn", *(f"{name}-svn" for name in SNP_SVNS)})
ALWAYS_BY_TYPE: Mapping[str, frozenset[str]] = {
    SGX: frozenset({"mrenclave", "mrsigner", "product id", "svn", "x-ms-sgx-is-debuggable"}),
    TDX: frozenset(
        {
            *TDX_REGISTERS,
            *TDX_OTHERS,
            "mrsignerseam",
            "td attributes",
            "xfam",
            "seamsvn",
            "tcb status",
            "debug",
            "compliance",
        }
    ),
    SNP: frozenset(
        {
            "launch measurement",
            "host data",
            "id key digest",
            "author key digest",
            "vmpl",
            "x-ms-sevsnpvm-is-debuggable",
            "x-ms-sevsnpvm-migration-allowed",
            *(f"{name} svn" for name in SNP_SVNS),
            "compliance",
        }
    ),
}
"""Names of the checks that are made of every token of a type, besides those of every token."""
_HINT = "it runs code, or in a way, that the federation did not approve; nothing was sent"


def choose(checklist: Checklist, name: str, tables: Mapping[str, T], kind: str) -> T:
    """Return the policy's table for a kind of machine.

    Raises:
        EvidenceRefused: it has none.
    """
    checklist.must(
        name,
        holds=kind in tables,
        found=kind,
        wanted=" or ".join(tables),
        trust=Trust.HARDWARE,
        hint="the policy has no table for this kind of machine",
    )
    return tables[kind]


def check_pinned(
    checklist: Checklist,
    name: str,
    found: bytes,
    pins: tuple[bytes, ...] | None,
    trust: Trust = Trust.EXECUTABLES,
) -> None:
    """Check that `found` is one of `pins`, where None accepts all."""
    checklist.want(
        name,
        holds=pins is None or found in pins,
        found=found,
        wanted="any" if pins is None else " or ".join(pin.hex() for pin in pins),
        trust=trust,
        hint=_HINT,
    )


def check_flag(
    checklist: Checklist, table: JsonObject, key: str, *, wanted: bool, exception: str = ""
) -> None:
    """Check a claim that is true or false, under the claim's own name."""
    found = table.boolean(key)
    checklist.want(
        key,
        holds=found == wanted,
        found=str(found).lower(),
        wanted=str(wanted).lower(),
        trust=Trust.CONFIGURATION,
        hint=_HINT,
        exception=exception,
    )


def check_least(checklist: Checklist, name: str, found: int, least: int) -> None:
    """Check a security version."""
    checklist.want(
        name,
        holds=found >= least,
        found=found,
        wanted=f"at least {least}",
        trust=Trust.HARDWARE,
        hint="the operator must update what this version counts",
    )


def check_guest(checklist: Checklist, *, measured: bool) -> None:
    """Note whether the hardware vouches for the code that asked for the token.

    On Azure's own confidential machines it vouches for the paravisor, which is the same in every
    tenant's, and takes nonces from whoever is root in the guest.
    """
    checklist.want(
        "guest",
        holds=measured,
        found="measured by the hardware" if measured else "only the paravisor is measured",
        wanted="a measurement of the code that asked for the token",
        trust=Trust.EXECUTABLES,
        hint="any program in anybody's machine on Azure can get such a token; use azure-vm, whose "
        "registers say what was started",
        exception=UNATTESTED_GUEST,
    )


def _check_report_data(
    checklist: Checklist, table: JsonObject, report_data: bytes, binding: str, bound: bytes
) -> None:
    """Check the binding by the rule that the policy names, and who can have chosen it."""
    if binding == USER_DATA:
        found, wanted = table.table(RUNTIME).hexadecimal("user-data", 64), bound
    elif binding == REPORT_DATA:
        found, wanted = report_data, bound
    else:
        found, wanted = report_data, hashlib.sha256(bound).digest() + bytes(32)
    checklist.want(
        "report data",
        holds=found == wanted,
        found=found,
        wanted=wanted,
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
    check_guest(checklist, measured=binding != USER_DATA)


def _check_compliance(
    checklist: Checklist, table: JsonObject, accepted: tuple[str, ...] | None
) -> None:
    found = table.text(COMPLIANCE) if COMPLIANCE in table else "none"
    checklist.want(
        "compliance",
        holds=accepted is None or found in accepted,
        found=found,
        wanted="any" if accepted is None else " or ".join(accepted),
        trust=Trust.CONFIGURATION,
        hint="it is no confidential virtual machine of Azure's own kind",
    )


def appraise_sgx(checklist: Checklist, claims: JsonObject, pins: SgxPins, bound: bytes) -> Claims:
    """Return the claims about an enclave."""
    mrenclave = claims.hexadecimal("x-ms-sgx-mrenclave", 32)
    mrsigner = claims.hexadecimal("x-ms-sgx-mrsigner", 32)
    product, svn = claims.integer("x-ms-sgx-product-id"), claims.integer("x-ms-sgx-svn")
    report_data = claims.hexadecimal("x-ms-sgx-report-data", 64)
    _check_report_data(checklist, claims, report_data, pins.binding, bound)
    check_pinned(checklist, "mrenclave", mrenclave, pins.mrenclaves)
    check_pinned(checklist, "mrsigner", mrsigner, pins.mrsigners)
    checklist.want(
        "product id",
        holds=product == pins.product_id,
        found=product,
        wanted=pins.product_id,
        trust=Trust.EXECUTABLES,
        hint=_HINT,
    )
    checklist.want(
        "svn",
        holds=svn >= pins.minimum_svn,
        found=svn,
        wanted=f"at least {pins.minimum_svn}",
        trust=Trust.EXECUTABLES,
        hint="the operator must run a newer enclave",
    )
    check_flag(checklist, claims, "x-ms-sgx-is-debuggable", wanted=False, exception=DEBUG)
    return Claims(
        claims={
            "mrenclave": mrenclave.hex(),
            "mrsigner": mrsigner.hex(),
            "isvprodid": product,
            "isvsvn": svn,
            "report-data": report_data.hex(),
        },
        identifiers={"measurement": (mrenclave.hex(),), "mrsigner": (mrsigner.hex(),)},
        levels={"isvsvn": svn},
    )


def appraise_tdx(checklist: Checklist, claims: JsonObject, pins: TdxPins, bound: bytes) -> Claims:
    """Return the claims about a trust domain."""
    pinned = {"mrtd": pins.mrtd, **pins.others}
    registers = {name: claims.hexadecimal(f"tdx_{name}", 48) for name in pinned}
    report_data = claims.hexadecimal("tdx_report_data", 64)
    attributes, xfam = (claims.hexadecimal(f"tdx_{name}", 8) for name in ("td_attributes", "xfam"))
    seamsvn, status = claims.integer("tdx_seamsvn"), claims.text("attester_tcb_status")
    if pins.binding:
        _check_report_data(checklist, claims, report_data, pins.binding, bound)
    for name, value in registers.items():
        check_pinned(checklist, name, value, pinned[name])
    signer = claims.hexadecimal("tdx_mrsignerseam", 48)
    check_pinned(checklist, "mrsignerseam", signer, (bytes(48),), Trust.HARDWARE)
    for name, value, accepted in (
        ("td attributes", attributes, pins.td_attributes),
        ("xfam", xfam, pins.xfams),
    ):
        check_pinned(checklist, name, value, accepted, Trust.CONFIGURATION)
    check_least(checklist, "seamsvn", seamsvn, pins.minimum_seamsvn)
    check_tcb_status(checklist, status)
    _check_tdx_debug(checklist, claims, attributes)
    _check_compliance(checklist, claims, pins.compliance)
    return Claims(
        claims={
            **{name: value.hex() for name, value in registers.items()},
            "report-data": report_data.hex(),
            "td-attributes": attributes.hex(),
            "xfam": xfam.hex(),
            "seamsvn": seamsvn,
            "tcb-status": status,
            "dbgstat": claims.text("dbgstat"),
        },
        identifiers={
            "measurement": tuple(
                registers[name].hex() for name in TDX_REGISTERS if any(registers[name])
            ),
        },
        levels={"seamsvn": seamsvn},
    )


def _check_tdx_debug(checklist: Checklist, claims: JsonObject, attributes: bytes) -> None:
    """Check that all three places in which a token speaks of debugging say no."""
    said, flag = claims.text("dbgstat"), claims.boolean("tdx_td_attributes_debug")
    # TD attributes, bit 0 (Intel TDX DCAP quoting library API, table A.3.4).
    bit = attributes[0] & 1
    checklist.want(
        "debug",
        holds=said == "disabled" and not flag and not bit,
        found=f"dbgstat {said}, attribute {bit}, flag {str(flag).lower()}",
        wanted="disabled, and attribute 0",
        trust=Trust.CONFIGURATION,
        hint="the host can read a domain in debug mode; nothing was sent",
        exception=DEBUG,
    )


def appraise_snp(checklist: Checklist, claims: JsonObject, pins: SnpPins, bound: bytes) -> Claims:
    """Return the claims about an SEV-SNP guest."""
    prefix = "x-ms-sevsnpvm-"
    fields = {
        "launch measurement": (
            claims.hexadecimal(f"{prefix}launchmeasurement", 48),
            pins.launch_measurements,
        ),
        "host data": (claims.hexadecimal(f"{prefix}hostdata", 32), pins.host_data),
        "id key digest": (claims.hexadecimal(f"{prefix}idkeydigest", 48), pins.id_key_digests),
        "author key digest": (
            claims.hexadecimal(f"{prefix}authorkeydigest", 48),
            pins.author_key_digests,
        ),
    }
    svns = {name: claims.integer(f"{prefix}{name}{_svn(name)}") for name in SNP_SVNS}
    report_data = claims.hexadecimal(f"{prefix}reportdata", 64)
    vmpl, measurement = claims.integer(f"{prefix}vmpl"), fields["launch measurement"][0].hex()
    if pins.binding:
        _check_report_data(checklist, claims, report_data, pins.binding, bound)
    for name, (value, accepted) in fields.items():
        check_pinned(checklist, name, value, accepted)
    checklist.want(
        "vmpl", holds=vmpl == pins.vmpl, found=vmpl, wanted=pins.vmpl, trust=Trust.CONFIGURATION
    )
    check_flag(checklist, claims, f"{prefix}is-debuggable", wanted=False, exception=DEBUG)
    check_flag(checklist, claims, f"{prefix}migration-allowed", wanted=False, exception=MIGRATION)
    if not pins.smt:
        check_flag(checklist, claims, f"{prefix}smt-allowed", wanted=False)
    for name, found in svns.items():
        check_least(checklist, f"{name} svn", found, pins.minimum_svns[name])
    _check_compliance(checklist, claims, pins.compliance)
    return Claims(
        claims={
            **{name.replace(" ", "-"): value.hex() for name, (value, _) in fields.items()},
            **{f"{name}-svn": found for name, found in svns.items()},
            "report-data": report_data.hex(),
            "report-id": claims.text(f"{prefix}reportid"),
            "vmpl": vmpl,
        },
        identifiers={"measurement": (measurement,)},
        levels={f"{name}-svn": found for name, found in svns.items()},
    )


def _svn(name: str) -> str:
    """Return how the claim's name goes on: only the guest's is written without a hyphen."""
    return "svn" if name == "guest" else "-svn"
