"""Compare the TDREPORT of an HCL report with a TD quote of the same machine.

A TDREPORT is authenticated by a MAC that only the processor which made it can check. So nothing
in it counts by itself: the quote is verified, and every field of the TDREPORT must be the quote's.
Left over is the MAC itself. It vouches for nothing here, and bytes that nothing vouches for are
refused: whoever sends the evidence writes zeros over it, or the policy names the exception
`unchecked-mac`.

Source: Intel TDX Module ABI Specification, 348551-008, TDREPORT_STRUCT; Intel Software Developer's
Manual, volume 3D (REPORTMACSTRUCT).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.intel.quote import Quote
from fedenclave.attestation.reader import Reader
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

TCB_INFO_SIZE, TD_INFO_SIZE = 239, 512
MAC_OFFSET, MAC_SIZE = 224, 32
UNCHECKED_MAC = "unchecked-mac"
_TYPE = b"\x81\x00"
"""TEE type TDX, subtype 0."""
_VALID = ((0x301FF).to_bytes(8, "little"), (0x1FF).to_bytes(8, "little"))
"""TEE_TCB_INFO.VALID: which fields are there; with and without TEE_TCB_SVN2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReportStructure:
    """A TDREPORT. Nothing in it is verified.

    `fields` holds every field that a quote has as well, by name; `service_td` is a digest over
    the service TDs, which only newer quotes have.
    """

    cpu_svn: bytes
    mac: bytes
    fields: dict[str, bytes]
    service_td: bytes


def parse_td_report(data: bytes) -> TdReportStructure:
    """Return the TDREPORT at the beginning of `data`; zeros must follow.

    Raises:
        MalformedMessage: it is none, or its two hashes are not over its own parts.
    """
    reader = Reader(data, "tdreport")
    kind, version = reader.take(2), reader.little(1)
    reader.zeros(13, "bytes 3 to 15")
    if kind != _TYPE:
        raise MalformedMessage(f"tdreport is of type {kind.hex()}, want {_TYPE.hex()}")
    cpu_svn, tcb_hash, info_hash = reader.take(16), reader.take(48), reader.take(48)
    report_data = reader.take(64)
    reader.zeros(32, "bytes 192 to 223")
    mac, tcb_info = reader.take(MAC_SIZE), reader.take(TCB_INFO_SIZE)
    reader.zeros(17, "bytes 495 to 511")
    td_info = reader.take(TD_INFO_SIZE)
    reader.zeros(reader.left, "what follows it")
    hashes = (hashlib.sha384(tcb_info).digest(), hashlib.sha384(td_info).digest())
    if (tcb_hash, info_hash) != hashes:
        raise MalformedMessage("tdreport has hashes that are not over its own parts")
    info, service_td = _read_td_info(td_info)
    # Version 1 is for TDs to which service TDs are bound, and for no other.
    if version != int(any(service_td)):
        raise MalformedMessage(f"tdreport is of version {version}, and says otherwise itself")
    return TdReportStructure(
        cpu_svn=cpu_svn,
        mac=mac,
        fields={"report data": report_data, **_read_tcb_info(tcb_info), **info},
        service_td=service_td,
    )


def _read_tcb_info(data: bytes) -> dict[str, bytes]:
    reader = Reader(data, "tdreport's tcb info")
    if reader.take(8) not in _VALID:
        raise MalformedMessage("tdreport's tcb info lacks fields, or has unknown ones")
    fields = {
        "tee tcb svn": reader.take(16),
        "mrseam": reader.take(48),
        "mrsignerseam": reader.take(48),
        "seam attributes": reader.take(8),
        "tee tcb svn 2": reader.take(16),
    }
    reader.zeros(95, "bytes 144 to 238")
    return fields


def _read_td_info(data: bytes) -> tuple[dict[str, bytes], bytes]:
    reader = Reader(data, "tdreport's td info")
    fields = {"td attributes": reader.take(8), "xfam": reader.take(8)}
    for name in ("mrtd", "mrconfigid", "mrowner", "mrownerconfig"):
        fields[name] = reader.take(48)
    for number in range(4):
        fields[f"rtmr{number}"] = reader.take(48)
    service_td = reader.take(48)
    reader.zeros(64, "bytes 448 to 511")
    return fields, service_td


def check_same_td(checklist: Checklist, report: TdReportStructure, quote: Quote) -> None:
    """Check that the TDREPORT says what the verified quote says.

    Raises:
        EvidenceRefused: it does not: it is another machine's, or was changed.
    """
    td = quote.td
    quoted = {
        "report data": td.report_data,
        "tee tcb svn": td.tee_tcb_svn,
        "mrseam": td.mrseam,
        "mrsignerseam": td.mrsignerseam,
        "seam attributes": td.seam_attributes,
        # Quotes of TD report 1.0 have no second SVN; then no module was updated under the TD.
        "tee tcb svn 2": td.tee_tcb_svn if td.tee_tcb_svn2 is None else td.tee_tcb_svn2,
        "td attributes": td.td_attributes,
        "xfam": td.xfam,
        "mrtd": td.mrtd,
        "mrconfigid": td.mrconfigid,
        "mrowner": td.mrowner,
        "mrownerconfig": td.mrownerconfig,
        **{f"rtmr{number}": value for number, value in enumerate(td.rtmrs)},
    }
    differs = [name for name, value in report.fields.items() if quoted[name] != value]
    if report.cpu_svn != quote.qe_report.cpu_svn:
        differs.append("cpu svn")
    if report.service_td != (td.mrservicetd or bytes(48)):
        differs.append("service tds")
    checklist.must(
        "tdreport",
        holds=not differs,
        found=f"differs in {', '.join(differs)}" if differs else "as the quote",
        wanted="the same as in the td quote",
        trust=Trust.INSTANCE_IDENTITY,
        hint="quote and hcl report are of different machines or boots; or one was changed",
    )


def check_mac(checklist: Checklist, report: TdReportStructure) -> None:
    """Check that nothing is left in the TDREPORT that nobody can check."""
    checklist.want(
        "tdreport mac",
        holds=not any(report.mac),
        found=report.mac,
        wanted="zeros, as nobody but its processor can check it",
        trust=Trust.INSTANCE_IDENTITY,
        hint="blank it before sending (attestation/azure/README.md), or except unchecked-mac",
        exception=UNCHECKED_MAC,
    )


def without_mac(hcl_report: bytes, offset: int) -> bytes:
    """Return an HCL report whose TDREPORT, at `offset`, has a MAC of zeros."""
    start = offset + MAC_OFFSET
    return hcl_report[:start] + bytes(MAC_SIZE) + hcl_report[start + MAC_SIZE :]
