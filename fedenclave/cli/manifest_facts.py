"""What a manifest says, for people to read."""

from __future__ import annotations

import json

from fedenclave.protocol.aggregation import shown
from fedenclave.protocol.cohort import DrawnCohort
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import key_to_text


def _chosen_by(drawn: DrawnCohort | None) -> str:
    if drawn is None:
        return "named by the operator"
    return f"{drawn.size} clients, drawn by the enclave of at least {drawn.of_at_least}"


def plain(value: object) -> str:
    """Return a fact as a line of text."""
    if isinstance(value, dict):
        return json.dumps(value, indent=1, ensure_ascii=False) if value else "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def manifest_facts(manifest: Manifest, approving: set[str]) -> dict[str, object]:
    """Return what a manifest says, by name, in the order in which people read it."""
    rules = manifest.rules
    return {
        "digest": to_text(manifest.digest),
        "continues": to_text(manifest.continues) if manifest.continues is not None else "none",
        "operator_made_the_keys": manifest.development,
        "members": [member.name for member in manifest.members],
        "clients": [client.name for client in manifest.clients],
        "approvals": f"{len(approving)} of {len(manifest.members)}, {manifest.threshold} needed",
        "approved_by": sorted(approving),
        "accepted_evidence": list(manifest.attestation.accepted),
        "measurements": [to_text(pin) for pin in manifest.attestation.insecure],
        "pins": {name: dict(pins) for name, pins in manifest.attestation.formats.items()},
        "revocations": "required" if manifest.attestation.revocations else "none",
        "key_services": [f"{each.name} {key_to_text(each.key)}" for each in manifest.key_services],
        "evidence_freshness_seconds": manifest.attestation.freshness_seconds,
        "rule": f"{shown(rules.rule, rules.server)}, weighting {rules.weighting}",
        "released": "model parameters, and "
        + (f"the mean of {', '.join(rules.metrics)}" if rules.metrics else "nothing else"),
        "weight_cap": rules.weight_cap,
        "max_abs": rules.max_abs,
        "max_norm": f"{rules.max_norm} ({rules.over_norm})",
        "min_cohort": f"{rules.min_cohort} organisations",
        "cohort": _chosen_by(rules.drawn),
        "differential_privacy": "off",
        "suite": manifest.suite.value,
        "schema": to_text(manifest.schema),
        "first_model": to_text(manifest.initial_model),
    }
