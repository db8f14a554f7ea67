"""The ARK's revocation lists: whether the ASK or ASVK above a machine's key still stands.

Rules:
  * Of several versions of the kind's list the one counts that AMD signed last by the time in
    question, even if its next update has come, and it is then refused. The dates are AMD's; no
    snapshot's name decides.
  * Every other list in the bundle that the ARK signed by then is looked at too, older ones and the
    other kind's: what AMD has once revoked stays revoked. Nothing in a list says for which kind it
    is, so a VLEK's list under the VCEK's name cannot be told from it; but whatever list holds a
    revocation is found under either name.
  * AMD signs a list for about a year and publishes it unchanged until the next. So the policy's
    greatest age counts from when the verifier last fetched that very list: at that time it was
    still what AMD published. Nobody signs that time; it is the verifier's own. A list that was
    fetched only after the time in question counts from the day on which it was signed.

Source: AMD 57230 (VCEK Certificate and KDS Interface), chapter 4; RFC 5280, section 5.
"""

from __future__ import annotations

from fedenclave.attestation.amd.endorsement import LEAF_NAMES, Authority
from fedenclave.attestation.amd.kds import crl_name
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import FETCH_HINT, Dated, iso
from fedenclave.attestation.crl import check_revocation
from fedenclave.attestation.crl_versions import Crl, need_crl, read_crls
from fedenclave.attestation.format import Question
from fedenclave.attestation.result import Trust

_LONGEST_PERIOD = 400 * 24 * 3600


def check_authority(authority: Authority, question: Question, checklist: Checklist) -> None:
    """Check that no list of the ARK's names the intermediate, or the ARK itself.

    Raises:
        EvidenceRefused: one does, or the list is missing, too old, or by somebody else; or a list
            of this product line in the bundle cannot be read.
    """
    name = crl_name(authority.product, authority.kind)
    current = need_crl(checklist, question.collateral, name, question.now)
    check_revocation(
        checklist,
        [authority.intermediate, authority.root],
        current,
        authority.root,
        name=name,
        now=question.now,
        max_age_seconds=_LONGEST_PERIOD,
    )
    _check_fetched(current, name, question, checklist)
    for kind in LEAF_NAMES:
        _check_others(crl_name(authority.product, kind), current, authority, question, checklist)


def _check_fetched(
    current: Dated[Crl], name: str, question: Question, checklist: Checklist
) -> None:
    same = [
        file.fetched
        for file in question.collateral.versions(name)
        if file.data == current.file.data and file.fetched <= question.now
    ]
    current_at = max(same, default=current.issued)
    checklist.must(
        f"fetch of {name}",
        holds=question.now - current_at <= question.collateral_max_age_seconds,
        found=f"fetched {iso(max(same, default=current.file.fetched))}, "
        f"signed {iso(current.issued)}",
        wanted=f"at most {question.collateral_max_age_seconds} s before {iso(question.now)}",
        trust=Trust.INSTANCE_IDENTITY,
        hint=FETCH_HINT,
    )


def _check_others(
    name: str, current: Dated[Crl], authority: Authority, question: Question, checklist: Checklist
) -> None:
    """Check that no other list which was signed by the time in question names an authority."""
    files = question.collateral.versions(name)
    for other in read_crls(checklist, name, files, Trust.INSTANCE_IDENTITY):
        if other.file.data == current.file.data or other.issued > question.now:
            continue
        check_revocation(
            checklist,
            [authority.intermediate, authority.root],
            other,
            authority.root,
            name=f"{name} of {iso(other.issued)}",
            # As of the day on which it was signed, since its age does not matter.
            now=other.issued,
            max_age_seconds=_LONGEST_PERIOD,
        )
