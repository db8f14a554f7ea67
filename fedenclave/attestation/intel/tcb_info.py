"""Intel's TCB info and quoting enclave identity: parsed strictly, not verified.

Source: Intel PCS API version 4, "TCB info v3" and "enclave identity v2" (appendices A and B of the
SGX and TDX PCS specification). An SGX TCB info of version 2 has no list of components by number
and is refused, as are the identities of other enclaves than the quoting enclave.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedenclave.attestation.intel.signed_json import SignedJson, bounded, date
from fedenclave.attestation.strict_json import JsonObject
from fedenclave.protocol.errors import MalformedMessage

COMPONENTS = 16
_TCB_INFO_VERSION = 3
_IDENTITY = {"SGX": ("QE", (2,)), "TDX": ("TD_QE", (2, 3))}
"""By TEE: the identity's id, and the versions whose fields are those below."""

_MODULE_ID = re.compile(r"TDX_([0-9A-Fa-f]{2})")

STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
MODULE_STATUSES = ("UpToDate", "OutOfDate", "Revoked")
QE_STATUSES = tuple(status for status in STATUSES if "SWHardening" not in status)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLevel:
    """One TCB level of a platform: what it needs at least, and what Intel says of it then.

    `tdx` is empty in TCB info for SGX.
    """

    sgx: tuple[int, ...]
    tdx: tuple[int, ...]
    pce_svn: int
    status: str
    advisories: tuple[str, ...]
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SvnLevel:
    """One TCB level of an enclave or of a TDX module: the least `isvsvn` for a status."""

    isv_svn: int
    status: str
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxModule:
    """What a TDX module must look like. `levels` is empty for the module of version 0."""

    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[SvnLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """TCB info for one FMSPC. Dates are in Unix seconds; levels are newest first, as Intel sorts.

    `modules` are those of TDX by version; version 0 is the module of the first TDX generation.
    """

    issued: int
    next_update: int
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    levels: tuple[PlatformLevel, ...]
    modules: dict[int, TdxModule]


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """What the quoting enclave must look like. Dates are in Unix seconds."""

    issued: int
    next_update: int
    evaluation_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isv_prod_id: int
    levels: tuple[SvnLevel, ...]


def read_tcb_info(document: SignedJson, tee: str) -> TcbInfo:
    """Return the TCB info for `tee` (`SGX` or `TDX`).

    Raises:
        MalformedMessage: it is for another TEE or of another version, or a field is wrong.
    """
    fields = document.fields
    version = bounded(fields, "version", 255)
    if version != _TCB_INFO_VERSION:
        raise MalformedMessage(f"tcb info has version {version}, want {_TCB_INFO_VERSION}")
    if fields.text("id") != tee:
        raise MalformedMessage(f"tcb info is for {fields.text('id')[:20]!r}, want {tee}")
    if bounded(fields, "tcbType", 255) != 0:
        raise MalformedMessage("tcb info has a tcb type other than 0, whose levels are not known")
    levels = [_platform_level(level, tee) for level in fields.tables("tcbLevels")]
    # Intel's own verifier sorts before it searches, so the order in the file says nothing.
    levels.sort(key=lambda level: (level.sgx, level.pce_svn, level.tdx), reverse=True)
    return TcbInfo(
        issued=date(fields, "issueDate"),
        next_update=date(fields, "nextUpdate"),
        fmspc=fields.hexadecimal("fmspc", 6),
        pce_id=fields.hexadecimal("pceId", 2),
        evaluation_number=bounded(fields, "tcbEvaluationDataNumber", 2**32 - 1),
        levels=tuple(levels),
        modules=_modules(fields) if tee == "TDX" else {},
    )


def read_qe_identity(document: SignedJson, tee: str) -> QeIdentity:
    """Return the quoting enclave's identity for `tee` (`SGX` or `TDX`).

    Raises:
        MalformedMessage: it is another enclave's or of another version, or a field is wrong.
    """
    fields = document.fields
    wanted, versions = _IDENTITY[tee]
    if fields.text("id") != wanted or bounded(fields, "version", 255) not in versions:
        raise MalformedMessage(
            f"enclave identity is {fields.text('id')[:20]!r} version "
            f"{fields.integer('version')}, want {wanted} version {versions}"
        )
    return QeIdentity(
        issued=date(fields, "issueDate"),
        next_update=date(fields, "nextUpdate"),
        evaluation_number=bounded(fields, "tcbEvaluationDataNumber", 2**32 - 1),
        misc_select=fields.hexadecimal("miscselect", 4),
        misc_select_mask=fields.hexadecimal("miscselectMask", 4),
        attributes=fields.hexadecimal("attributes", 16),
        attributes_mask=fields.hexadecimal("attributesMask", 16),
        mrsigner=fields.hexadecimal("mrsigner", 32),
        isv_prod_id=bounded(fields, "isvprodid", 2**16 - 1),
        levels=_svn_levels(fields, QE_STATUSES, 2**16 - 1),
    )


def _platform_level(level: JsonObject, tee: str) -> PlatformLevel:
    tcb = level.table("tcb")
    date(level, "tcbDate")
    return PlatformLevel(
        sgx=_components(tcb, "sgxtcbcomponents"),
        tdx=_components(tcb, "tdxtcbcomponents") if tee == "TDX" else (),
        pce_svn=bounded(tcb, "pcesvn", 2**16 - 1),
        status=_status(level, STATUSES),
        advisories=_advisories(level),
        date=level.text("tcbDate"),
    )


def _components(tcb: JsonObject, key: str) -> tuple[int, ...]:
    svns = tuple(bounded(component, "svn", 255) for component in tcb.tables(key))
    if len(svns) != COMPONENTS:
        raise MalformedMessage(f"tcb level has {len(svns)} {key}, want {COMPONENTS}")
    return svns


def _modules(fields: JsonObject) -> dict[int, TdxModule]:
    modules = {0: _module(fields.table("tdxModule"), levels=())}
    if "tdxModuleIdentities" not in fields:
        return modules
    for identity in fields.tables("tdxModuleIdentities"):
        name = _MODULE_ID.fullmatch(identity.text("id"))
        version = int(name[1], 16) if name else 0
        if version in modules:
            raise MalformedMessage(
                f"tcb info has a tdx module identity {identity.text('id')[:20]!r}, want TDX_01 to "
                "TDX_FF, each once"
            )
        modules[version] = _module(identity, _svn_levels(identity, MODULE_STATUSES, 255))
    return modules


def _module(fields: JsonObject, levels: tuple[SvnLevel, ...]) -> TdxModule:
    return TdxModule(
        mrsigner=fields.hexadecimal("mrsigner", 48),
        attributes=fields.hexadecimal("attributes", 8),
        attributes_mask=fields.hexadecimal("attributesMask", 8),
        levels=levels,
    )


def _svn_levels(fields: JsonObject, statuses: tuple[str, ...], high: int) -> tuple[SvnLevel, ...]:
    levels = []
    for level in fields.tables("tcbLevels"):
        date(level, "tcbDate")
        levels.append(
            SvnLevel(
                isv_svn=bounded(level.table("tcb"), "isvsvn", high),
                status=_status(level, statuses),
                advisories=_advisories(level),
            )
        )
    if not levels:
        raise MalformedMessage("tcb levels are an empty list")
    return tuple(sorted(levels, key=lambda level: level.isv_svn, reverse=True))


def _status(level: JsonObject, known: tuple[str, ...]) -> str:
    status = level.text("tcbStatus")
    if status not in known:
        raise MalformedMessage(f"tcb level has a status {status[:40]!r} that is not known")
    return status


def _advisories(level: JsonObject) -> tuple[str, ...]:
    # Intel leaves the field out where there is nothing to say.
    return level.texts("advisoryIDs") if "advisoryIDs" in level else ()
