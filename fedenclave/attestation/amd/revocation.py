"""The ARK's revocation list: whether the ASK or ASVK above a machine's key still stands.

AMD signs a list for about a year and publishes it unchanged until the next, so the age that counts
is how long ago the verifier fetched it: at that time it was still what AMD published. A list that
was fetched after the time in question counts from the day on which it was signed.

Source: AMD 57230 (VCEK Certificate and KDS Interface), chapter 4; RFC 5280, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from fedenclave.attestation.amd.endorsement import Authority
from fedenclave.attestation.amd.kds import crl_name
from fedenclave.attestation.certificates import check_revocation, parse_crl
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import FETCH_HINT, CollateralFile, iso
from fedenclave.attestation.format import Question
from fedenclave.attestation.result import Trust

_LONGEST_PERIOD = 400 * 24 * 3600


def check_authority(authority: Authority, question: Question, checklist: Checklist) -> None:
    """Check that the ARK's current list names neither the intermediate nor the ARK itself.

    Raises:
        EvidenceRefused: it does, or the list is missing, too old, or by somebody else.
        MalformedMessage: the list cannot be read.
    """
    name = crl_name(authority.product, authority.kind)
    versions = question.collateral.need(name, checklist, Trust.INSTANCE_IDENTITY)
    file, crl = _of_that_time(versions, question.now, name)
    check_revocation(
        checklist,
        [authority.intermediate, authority.root],
        crl,
        authority.root,
        name=name,
        now=question.now,
        max_age_seconds=_LONGEST_PERIOD,
    )
    signed = int(crl.last_update_utc.timestamp())
    current_at = file.fetched if file.fetched <= question.now else signed
    checklist.must(
        f"fetch of {name}",
        holds=question.now - current_at <= question.collateral_max_age_seconds,
        found=f"fetched {iso(file.fetched)}, signed {iso(signed)}",
        wanted=f"at most {question.collateral_max_age_seconds} s before {iso(question.now)}",
        trust=Trust.INSTANCE_IDENTITY,
        hint=FETCH_HINT,
    )


def _of_that_time(
    versions: Sequence[CollateralFile], now: int, name: str
) -> tuple[CollateralFile, x509.CertificateRevocationList]:
    """Return the newest list that was signed by `now`; the newest of all if none was."""
    parsed = [(file, parse_crl(file.data, name)) for file in versions]
    for file, crl in parsed:
        if crl.last_update_utc.timestamp() <= now:
            return file, crl
    return parsed[0]
