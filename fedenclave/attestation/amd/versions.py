"""Appraise how new a machine's firmware is: product, TCB_VERSIONs, firmware, mitigations.

The floor of a product counts for all four TCBs: at the guest's launch (what happened on older
firmware cannot be undone), current, committed (below which the host cannot go back) and reported
(for which the signing key was derived).

Source: AMD 56860 revision 1.58, section 2.2 (TCB_VERSION) and table 23.
"""

from __future__ import annotations

from fedenclave.attestation.amd.claims import dotted
from fedenclave.attestation.amd.policy import SnpPins
from fedenclave.attestation.amd.verify import VerifiedReport
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust

ALWAYS = frozenset(
    {
        "report version",
        "product",
        "current tcb",
        "committed tcb",
        "reported tcb",
        "launch tcb",
        "current firmware",
        "committed firmware",
        "mitigations",
    }
)
_UPDATE = "the operator must update the machine's firmware; nothing was sent"


def appraise_versions(verified: VerifiedReport, pins: SnpPins, checklist: Checklist) -> None:
    """Note whether product, TCB, firmware and mitigations are as new as `pins` want."""
    report, floor = verified.report, pins.min_tcb.get(verified.product)
    checklist.want(
        "report version",
        holds=report.version >= pins.min_report_version,
        found=report.version,
        wanted=f"at least {pins.min_report_version}",
        trust=Trust.HARDWARE,
        hint=_UPDATE,
    )
    checklist.want(
        "product",
        holds=floor is not None,
        found=verified.product,
        wanted=" or ".join(pins.min_tcb),
        trust=Trust.HARDWARE,
        hint="min_tcb has no floor for this product line, so it is not accepted",
    )
    for name, tcb in verified.tcb.items():
        checklist.want(
            f"{name} tcb",
            holds=floor is not None and tcb.reaches(floor),
            found=tcb,
            wanted=f"at least {floor}" if floor else f"a floor for {verified.product}",
            trust=Trust.HARDWARE,
            hint="the guest was started on older firmware: the operator must start it anew"
            if name == "launch"
            else _UPDATE,
        )
    for name, firmware in (
        ("current", report.current_firmware),
        ("committed", report.committed_firmware),
    ):
        checklist.want(
            f"{name} firmware",
            holds=firmware >= pins.min_firmware,
            found=dotted(firmware),
            wanted=f"at least {dotted(pins.min_firmware)}",
            trust=Trust.HARDWARE,
            hint=_UPDATE,
        )
    vectors = (report.launch_mitigations, report.current_mitigations)
    at_launch, now = ("none" if vector is None else f"{vector:016x}" for vector in vectors)
    checklist.want(
        "mitigations",
        holds=all((vector or 0) & pins.mitigations == pins.mitigations for vector in vectors),
        found=f"{at_launch} at launch, {now} now",
        wanted=f"all bits of {pins.mitigations:016x}, at launch and now",
        trust=Trust.HARDWARE,
        hint=_UPDATE,
    )
