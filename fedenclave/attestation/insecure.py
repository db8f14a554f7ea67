"""Appraise development evidence: an enclave process that speaks for itself.

What holds afterwards: the evidence came from whoever holds the signing key, is for this nonce and
manifest, and *claims* a measurement that the manifest pins. What does not: that the claim is true.
Nobody but the operator vouches for it, so the status is never better than `warning`.

SPEC.md, section 9.2.
"""

from __future__ import annotations

from fedenclave.attestation.result import AttestationResult, Check, EvidenceRefused, Status
from fedenclave.protocol.digests import equal, to_text
from fedenclave.protocol.evidence import INSECURE_WARNING, Evidence, InsecureDocument
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey, verify

_REFUSALS = {
    "format": (
        "the evidence is insecure (development mode), and the manifest does not accept that",
        "run the aggregator in a TEE that the manifest names",
    ),
    "warning": (
        "the evidence does not say that it is insecure",
        "it was not made by an unchanged FedEnclave; nothing was sent",
    ),
    "report data": (
        "the evidence is for another nonce, key or manifest",
        "it is old, or was made for somebody else; nothing was sent",
    ),
    "measurement": (
        "the aggregator runs code that the federation did not approve",
        "nothing was sent. ask the operator which code runs there; the approved measurement is in "
        "federation.toml, [attestation.insecure]",
    ),
}


def appraise(evidence: Evidence, manifest: Manifest, bound: bytes, now: int) -> AttestationResult:
    """Return the result, always with status `warning`.

    Args:
        evidence: decoded, of format `insecure`.
        manifest: the policy is `manifest.attestation.insecure`, its pinned measurements.
        bound: the 64 bytes that the report data must be.
        now: not used: nothing in this format expires.

    Raises:
        MalformedMessage: the document does not decode, or its signature does not hold.
        EvidenceRefused: a check does not hold.
    """
    del now
    pins = manifest.attestation.insecure
    key = PublicKey(evidence.signing_key)
    document = verify(InsecureDocument, evidence.document, key)
    checks = (
        Check(
            name="format",
            found="insecure",
            wanted="a format that the manifest pins",
            holds=bool(pins),
        ),
        Check(
            name="warning",
            found=document.warning[:80],
            wanted=INSECURE_WARNING,
            holds=document.warning == INSECURE_WARNING,
        ),
        Check(
            name="report data",
            found=document.report_data.hex()[:32],
            wanted=bound.hex()[:32],
            holds=equal(document.report_data, bound),
        ),
        Check(
            name="measurement",
            found=to_text(document.measurement),
            wanted=" or ".join(map(to_text, pins)),
            holds=document.measurement in pins,
        ),
    )
    for check in checks:
        if not check.holds:
            message, hint = _REFUSALS[check.name]
            raise EvidenceRefused(
                f"{message}: {check.name} is {check.found}, want {check.wanted}",
                hint=hint,
                checks=checks,
            )
    return AttestationResult(
        format=evidence.format,
        status=Status.WARNING,
        signing_key=key,
        measurement=document.measurement,
        protections=document.protections,
        checks=checks,
    )
