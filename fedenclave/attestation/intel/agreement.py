"""Compare what this package found with what dcap-qvl finds: two verifiers must agree.

The library refuses some attributes of a TD, whatever its caller would accept, and then says nothing
else. That is no disagreement where the caller judged the same attribute; everything else was
verified by then by this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.intel.dcap import LibraryRefused, verify_by_library
from fedenclave.attestation.intel.quote import EnclaveReport
from fedenclave.attestation.intel.verified import VerifiedQuote
from fedenclave.attestation.result import Trust


def check_library(
    checklist: Checklist, now: int, verified: VerifiedQuote, lax: Sequence[str]
) -> None:
    """Ask dcap-qvl for the whole verification, and compare.

    Args:
        checklist: where the check `dcap-qvl` goes.
        now: Unix seconds.
        verified: what this package found.
        lax: the library's messages about attributes that the caller has judged.

    Raises:
        EvidenceRefused: it refuses for any other reason, or says something else.
    """
    arguments = verified.endorsements.arguments
    root = verified.root.public_bytes(Encoding.DER)
    try:
        claims = verify_by_library(verified.quote.raw, arguments, now, root)
    except LibraryRefused as error:
        judged = str(error) in lax
        found = f"refuses: {error}"
        differs = [] if judged else ["verdict"]
    else:
        differs = differences(claims, verified)
        found = f"differs in {', '.join(differs)}" if differs else "verifies, and agrees"
    checklist.must(
        "dcap-qvl",
        holds=not differs,
        found=found,
        wanted="the library's own verification, with the same result",
        trust=Trust.HARDWARE,
        hint="two verifiers disagree; report this, with the evidence",
    )


def differences(claims: Mapping[str, Any], verified: VerifiedQuote) -> list[str]:
    """Return what the library says otherwise than this package."""
    body, platform = verified.quote.body, verified.chain.extension
    try:
        tcb, pck = claims["tcb"], claims["platform"]["pck"]
        (report,) = claims["report"].values()
        report = report.get("base", report)
        measurement = report["mr_enclave"] if "mr_enclave" in report else report["mr_td"]
        same = {
            "status": tcb["status"] == verified.tcb.status,
            "advisories": set(tcb["advisory_ids"]) <= set(verified.tcb.advisories),
            "evaluation number": tcb["eval_data_number"] == verified.evaluation_number,
            "fmspc": bytes(pck["fmspc"]) == platform.fmspc,
            "ppid": bytes(pck["ppid"]) == platform.ppid,
            "report data": report["report_data"] == body.report_data.hex(),
            "measurement": measurement
            == (body.mrenclave if isinstance(body, EnclaveReport) else body.mrtd).hex(),
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return ["form of its claims"]
    return [name for name, equal in same.items() if not equal]
