"""Appraise evidence of any format against a manifest's policy.

The one entry. Each format's module is looked up by the name in the evidence, and only where the
policy pins that format: there is no default.

SPEC.md, section 9.
"""

from __future__ import annotations

from collections.abc import Callable

from fedenclave.attestation import insecure
from fedenclave.attestation.result import AttestationResult, EvidenceRefused
from fedenclave.protocol.errors import EnclaveRefused, MalformedMessage
from fedenclave.protocol.evidence import INSECURE, Evidence, report_data
from fedenclave.protocol.manifest import Manifest

Appraiser = Callable[[Evidence, Manifest, bytes, int], AttestationResult]

_APPRAISERS: dict[str, Appraiser] = {INSECURE: insecure.appraise}


def appraise(encoded: bytes, manifest: Manifest, nonce: bytes, now: int) -> AttestationResult:
    """Return the result for evidence that satisfies the manifest's policy.

    Args:
        encoded: the evidence as it travelled.
        manifest: the approved manifest; its digest must be bound into the evidence.
        nonce: the Merkle root that must be bound, 32 bytes. Whether the caller's own nonce is in
            it is for the caller to check.
        now: Unix seconds at which chains and collateral must be valid.

    Raises:
        EvidenceRefused: the policy is not satisfied.
        EnclaveRefused: the evidence does not decode or is of a format that no policy names.
    """
    try:
        evidence = Evidence.from_bytes(encoded)
        appraiser = _APPRAISERS.get(evidence.format)
        if appraiser is None:
            raise EvidenceRefused(
                f"evidence is of format {evidence.format[:40]!r}, want one that the manifest pins",
                hint="this version appraises: " + ", ".join(_APPRAISERS),
            )
        bound = report_data(nonce, evidence.signing_key, manifest.digest)
        return appraiser(evidence, manifest, bound, now)
    except MalformedMessage as error:
        raise EnclaveRefused(
            f"evidence does not decode: {error.message}",
            hint="it was damaged or made up on its way; nothing was sent",
        ) from error
