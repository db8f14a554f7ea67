"""Appraise evidence of any format against a policy. The one entry.

Each format's module is looked up by the name in the evidence, and only where the policy pins that
format: there is no default.

SPEC.md, section 9.
"""

from __future__ import annotations

from fedenclave.attestation.checklist import NOTHING_SENT, Checklist
from fedenclave.attestation.endorsements import NO_ENDORSEMENTS, Endorsements
from fedenclave.attestation.format import FormatPolicy, Parts, Question
from fedenclave.attestation.insecure import KEY, STATEMENT
from fedenclave.attestation.nvidia.gpu import ALWAYS as GPU_ALWAYS
from fedenclave.attestation.nvidia.gpu import IDENTIFIERS as GPU_IDENTIFIERS
from fedenclave.attestation.nvidia.gpu import appraise_gpu, split_gpu_parts
from fedenclave.attestation.nvidia.policy import GpuPolicy
from fedenclave.attestation.policy import read_policies
from fedenclave.attestation.result import (
    Appraisal,
    AttestationResult,
    Claims,
    EvidenceRefused,
    Status,
    Trust,
)
from fedenclave.attestation.revocation_checks import check_revocations
from fedenclave.attestation.revocations import Revocations
from fedenclave.protocol.attestation_policy import AttestationPolicy
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.evidence import INSECURE, Evidence, EvidenceParts, report_data
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey

DAMAGED = "it was damaged or made up on its way, or is of a newer version; " + NOTHING_SENT


def appraise_parts(
    parts: Parts,
    policy: FormatPolicy,
    question: Question,
    revocations: Revocations | None = None,
    *,
    revocations_required: bool = False,
) -> Appraisal:
    """Return the appraisal of one piece of evidence of one format.

    Raises:
        EvidenceRefused: a check does not hold; its `checks` are all that were made.
        RuntimeError: a defect of the format's module: a check that it always makes was not made,
            or it reports what it does not declare.
    """
    gpu = policy.gpu
    checklist = Checklist(policy.exceptions | (gpu.exceptions if gpu is not None else frozenset()))
    format_ = policy.format
    # Only where the policy wants GPUs: elsewhere their parts are unknown ones, and refused.
    parts, gpu_parts = split_gpu_parts(parts) if gpu is not None else (parts, {})
    _check_parts(checklist, parts, policy)
    try:
        claims = format_.appraise(parts, policy.pins, question, checklist)
        if gpu is not None:
            claims = _with_gpus(claims, gpu_parts, gpu, question, checklist)
    except MalformedMessage as error:
        # Structure is a check as others are; this raises.
        checklist.refuse(
            "structure",
            found=error.message,
            wanted=f"{format_.title}, byte for byte",
            trust=Trust.INSTANCE_IDENTITY,
            hint=DAMAGED,
        )
    _check_declared(claims, policy)
    check_revocations(
        checklist,
        format_.name,
        claims,
        revocations,
        required=revocations_required,
        gpu=gpu is not None,
        now=question.now,
    )
    vector = checklist.finish(format_.always | (GPU_ALWAYS if gpu is not None else frozenset()))
    excepted = any(check.excepted for check in checklist.checks)
    return Appraisal(
        format=format_.name,
        status=Status.WARNING if excepted or format_.name == INSECURE else Status.AFFIRMING,
        vector=vector,
        claims=claims,
        checks=checklist.checks,
    )


def _with_gpus(
    claims: Claims, parts: Parts, gpu: GpuPolicy, question: Question, checklist: Checklist
) -> Claims:
    """Return the CPU's claims with those of the GPUs that the policy wants beside it."""
    found = appraise_gpu(parts, gpu, question, checklist)
    kinds = claims.identifiers.keys() | found.identifiers.keys()
    return Claims(
        claims={**claims.claims, **found.claims},
        identifiers={
            kind: (*claims.identifiers.get(kind, ()), *found.identifiers.get(kind, ()))
            for kind in sorted(kinds)
        },
        levels={**claims.levels, **found.levels},
    )


def _check_declared(claims: Claims, policy: FormatPolicy) -> None:
    """Refuse to go on if the format reports what no list of revocations could name."""
    format_ = policy.format
    kinds = format_.identifiers | (GPU_IDENTIFIERS if policy.gpu is not None else frozenset())
    undeclared = (claims.identifiers.keys() - kinds) | (claims.levels.keys() - format_.levels)
    if undeclared:
        raise RuntimeError(f"format {format_.name} does not declare {sorted(undeclared)}")


def _check_parts(checklist: Checklist, parts: Parts, policy: FormatPolicy) -> None:
    format_, given = policy.format, set(parts)
    missing, unknown = format_.required - given, given - format_.required - format_.optional
    checklist.must(
        "parts",
        holds=not missing and not unknown,
        found=", ".join(sorted(given)) or "none",
        wanted=", ".join(
            [*sorted(format_.required), *(f"perhaps {name}" for name in sorted(format_.optional))]
        ),
        trust=Trust.INSTANCE_IDENTITY,
        hint=f"add what is missing; as a file of its own: --part {min(missing)}=FILE"
        if missing
        else "what this format does not know is refused, not passed over",
    )


def appraise(
    encoded: bytes,
    manifest: Manifest,
    nonce: bytes,
    now: int,
    endorsements: Endorsements = NO_ENDORSEMENTS,
) -> AttestationResult:
    """Return the result for evidence that satisfies the manifest's policy.

    Args:
        encoded: the evidence as it travelled.
        manifest: the approved manifest; its digest must be bound into the evidence.
        nonce: the Merkle root that must be bound, 32 bytes. Whether the caller's own nonce is in
            it is for the caller to check.
        now: Unix seconds at which chains and collateral must be valid.
        endorsements: vendors' collateral and the members' revocations; what is absent is refused
            where it is needed.

    Raises:
        EvidenceRefused: the policy is not satisfied, or the evidence does not decode.
        ConfigurationError: the manifest's pins cannot be read.
    """
    try:
        evidence = Evidence.from_bytes(encoded)
    except MalformedMessage as error:
        raise EvidenceRefused(f"evidence does not decode: {error.message}", hint=DAMAGED) from error
    bound = report_data(nonce, evidence.signing_key, manifest.digest)
    appraisal = appraise_evidence(evidence, manifest.attestation, bound, now, endorsements)
    return AttestationResult(
        format=appraisal.format,
        status=appraisal.status,
        vector=appraisal.vector,
        claims=appraisal.claims,
        checks=appraisal.checks,
        signing_key=PublicKey(evidence.signing_key),
    )


def appraise_evidence(
    evidence: Evidence,
    policy: AttestationPolicy,
    bound: bytes,
    now: int,
    endorsements: Endorsements,
) -> Appraisal:
    """Return the appraisal of `evidence`, which must bind the report data `bound` (64 bytes).

    Raises:
        EvidenceRefused: the policy is not satisfied.
        ConfigurationError: the policy's pins cannot be read.
    """
    policies = read_policies(policy)
    chosen = policies.get(evidence.format)
    if chosen is None:
        # Nothing is known to be wrong with it; it is of a kind that the members did not choose.
        Checklist().refuse(
            "format",
            found=evidence.format,
            wanted=" or ".join(policies) or "none is pinned",
            trust=Trust.HARDWARE,
            hint=(
                "development mode is not accepted by this federation: "
                if evidence.format == INSECURE
                else ""
            )
            + f"run the aggregator in a TEE that the manifest names; {NOTHING_SENT}",
        )
    question = Question(
        bound=chosen.format.bind(bound),
        now=now,
        freshness_seconds=policy.freshness_seconds,
        collateral=endorsements.collateral,
        collateral_max_age_seconds=policy.collateral_max_age_seconds,
        report_data=bound,
    )
    return appraise_parts(
        parts_of(evidence),
        chosen,
        question,
        endorsements.revocations,
        revocations_required=policy.revocations and endorsements.judge_revocations,
    )


def parts_of(evidence: Evidence) -> Parts:
    """Return the parts of evidence as it travels.

    Raises:
        EvidenceRefused: its document does not decode.
    """
    if evidence.format == INSECURE:
        return {STATEMENT: evidence.document, KEY: evidence.signing_key}
    try:
        return EvidenceParts.from_bytes(evidence.document).by_name()
    except MalformedMessage as error:
        raise EvidenceRefused(f"evidence does not decode: {error.message}", hint=DAMAGED) from error
