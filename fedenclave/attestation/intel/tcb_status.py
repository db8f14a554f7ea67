"""Find the TCB status of a platform: which level of Intel's TCB info it reaches.

dcap-qvl finds the same, and verify.py compares the two. It is found here as well because the
library gives no status at all for a TD that it refuses for its attributes, such as every TD on
Azure, and a policy must be able to except one of those without losing the other.

What is stricter than Intel's verifier: the status of the quoting enclave and, for TD report 1.5,
of the TCB since the last TDX module update are judged on their own, not only where they change the
sum; `Revoked` anywhere is refused.

Source: Intel PCS API version 4, "how to determine the TCB level of a platform" (SGX and TDX);
Intel SGX and TDX Quote Verification Library, convergence of statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedenclave.attestation.intel.dcap import PckExtension
from fedenclave.attestation.intel.quote import EnclaveReport, Quote, TdReport
from fedenclave.attestation.intel.tcb_info import (
    PlatformLevel,
    QeIdentity,
    SvnLevel,
    TcbInfo,
    TdxModule,
)

UP_TO_DATE, OUT_OF_DATE, REVOKED = "UpToDate", "OutOfDate", "Revoked"
_CONFIGURATION = "ConfigurationNeeded"
_STALE = (OUT_OF_DATE, "OutOfDateConfigurationNeeded")


class NoLevel(Exception):
    """The platform, module or quoting enclave is older than every level that Intel lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbStatus:
    """What Intel says of a platform's TCB.

    Attributes:
        status: of platform, TDX module and quoting enclave together.
        current: the same for the TCB since the last TDX module update; `status` where the quote
            has no such field.
        qe: of the quoting enclave alone.
        advisories: every security advisory that applies, sorted.
        date: of the platform's level: what was known by then is fixed.
    """

    status: str
    current: str
    qe: str
    advisories: tuple[str, ...]
    date: str


def find_tcb_status(
    quote: Quote, platform: PckExtension, tcb_info: TcbInfo, identity: QeIdentity
) -> TcbStatus:
    """Return the TCB status of the platform that made `quote`.

    Raises:
        NoLevel: nothing that Intel lists is reached.
    """
    qe = _svn_level(identity.levels, quote.qe_report.isv_svn, "quoting enclave")
    advisories = set(qe.advisories)
    if isinstance(quote.body, EnclaveReport):
        level = _platform_level(tcb_info, platform, None)
        launched, date = converge(level.status, qe.status), level.date
        current = launched
        advisories.update(level.advisories)
    else:
        launched, found, date = _td_status(quote.body.tee_tcb_svn, tcb_info, platform, qe)
        advisories.update(found)
        current = launched
        if quote.body.tee_tcb_svn2 is not None:
            current, found, _ = _td_status(quote.body.tee_tcb_svn2, tcb_info, platform, qe)
            advisories.update(found)
    return TcbStatus(
        status=relaunch(launched, current),
        current=current,
        qe=qe.status,
        advisories=tuple(sorted(advisories)),
        date=date,
    )


def converge(platform: str, component: str) -> str:
    """Return a platform's status, given that of its TDX module or quoting enclave as well."""
    if component == REVOKED:
        return REVOKED
    if component == OUT_OF_DATE and platform in (UP_TO_DATE, "SWHardeningNeeded"):
        return OUT_OF_DATE
    if component == OUT_OF_DATE and platform.startswith("Configuration"):
        return "OutOfDateConfigurationNeeded"
    return platform


def relaunch(launched: str, current: str) -> str:
    """Return the status of a TD that was launched with one TCB and runs with another.

    A TD that was launched out of date stays so after its module is updated under it: what leaked
    before is not undone. Intel then advises to launch it anew.
    """
    if launched not in _STALE or current in (*_STALE, REVOKED):
        return launched
    configuration = any("Configuration" in status for status in (launched, current))
    return f"TDRelaunchAdvised{_CONFIGURATION if configuration else ''}"


def module_of(td: TdReport, tcb_info: TcbInfo) -> TdxModule | None:
    """Return what the TD's module must look like; None if Intel lists no such version."""
    return tcb_info.modules.get(td.tee_tcb_svn[1])


def _td_status(
    svn: bytes, tcb_info: TcbInfo, platform: PckExtension, qe: SvnLevel
) -> tuple[str, tuple[str, ...], str]:
    """Return status, advisories and date for the TEE TCB SVNs `svn` (byte 1: module version)."""
    level = _platform_level(tcb_info, platform, svn)
    status, advisories = level.status, level.advisories
    if svn[1]:
        module = tcb_info.modules.get(svn[1])
        if module is None:
            raise NoLevel(f"tdx module version {svn[1]} is not listed")
        reached = _svn_level(module.levels, svn[0], "tdx module")
        status, advisories = converge(status, reached.status), advisories + reached.advisories
    return converge(status, qe.status), advisories, level.date


def _platform_level(tcb_info: TcbInfo, platform: PckExtension, svn: bytes | None) -> PlatformLevel:
    for level in tcb_info.levels:
        if platform.pce_svn < level.pce_svn or not _reaches(platform.cpu_svn, level.sgx):
            continue
        # From module version 1 on, bytes 0 and 1 are judged by the module's own levels.
        skip = 2 if svn is not None and svn[1] else 0
        if svn is not None and not _reaches(svn[skip:], level.tdx[skip:]):
            continue
        return level
    raise NoLevel("platform is below every level")


def _reaches(found: Sequence[int], needed: Sequence[int]) -> bool:
    return all(have >= need for have, need in zip(found, needed, strict=True))


def _svn_level(levels: Sequence[SvnLevel], isv_svn: int, what: str) -> SvnLevel:
    for level in levels:
        if isv_svn >= level.isv_svn:
            return level
    raise NoLevel(f"{what} with isvsvn {isv_svn} is below every level")
