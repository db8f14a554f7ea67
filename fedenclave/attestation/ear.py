"""Write an appraisal as an EAT attestation result (EAR), in JSON.

Unsigned: whoever ran the appraisal is its relying party. Values are the checks that were really
made, refused appraisals included.

Source: draft-ietf-rats-ear (names of claims), RFC 9711. The profile is that of the implementations
that read EAR today; what is ours has a prefix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata

from fedenclave.attestation.checklist import vector_of
from fedenclave.attestation.result import Appraisal, Check, Status, Trust

PROFILE = "tag:github.com,2023:veraison/ear"


def affirmed(appraisal: Appraisal, *, policy: bytes, now: int) -> dict[str, object]:
    """Return the result for evidence that satisfies the policy."""
    claims = appraisal.claims
    details = {
        "claims": dict(claims.claims),
        "identifiers": {kind: list(values) for kind, values in claims.identifiers.items()},
        "levels": dict(claims.levels),
    }
    return _result(
        appraisal.format,
        appraisal.status.value,
        appraisal.vector,
        appraisal.checks,
        policy=policy,
        now=now,
        details=details,
    )


def refused(
    format_: str, checks: Sequence[Check], reason: str, *, policy: bytes, now: int
) -> dict[str, object]:
    """Return the result for evidence that does not: it has a reason, and no claims."""
    return _result(
        format_,
        Status.CONTRAINDICATED.value,
        vector_of(checks),
        checks,
        policy=policy,
        now=now,
        details={"reason": reason},
    )


def _result(
    format_: str,
    status: str,
    vector: Mapping[Trust, int],
    checks: Sequence[Check],
    *,
    policy: bytes,
    now: int,
    details: Mapping[str, object],
) -> dict[str, object]:
    return {
        "eat_profile": PROFILE,
        "iat": now,
        "ear.verifier-id": {
            "build": f"fedenclave {metadata.version('fedenclave')}",
            "developer": "FedEnclave",
        },
        "submods": {
            format_: {
                "ear.status": status,
                "ear.trustworthiness-vector": {claim.value: vector[claim] for claim in vector},
                "ear.appraisal-policy-id": f"sha256:{hashlib.sha256(policy).hexdigest()}",
                **{f"fedenclave.{name}": value for name, value in details.items()},
                "fedenclave.checks": [_check(i, check) for i, check in enumerate(checks, 1)],
            }
        },
    }


def _check(number: int, check: Check) -> dict[str, object]:
    return {
        "number": number,
        "name": check.name,
        "found": check.found,
        "wanted": check.wanted,
        "holds": check.holds,
        "trust": check.trust.value,
        **({"exception": check.excepted} if check.excepted else {}),
    }
