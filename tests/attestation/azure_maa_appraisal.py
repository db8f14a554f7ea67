"""Appraise a fake Azure Attestation's token in a test, and tell what failed first."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.azure.maa import FORMAT, TOKEN
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_azure_attestation import (
    BOUND,
    JWKS,
    POLICY,
    key_set,
)
from tests.attestation.fake_tokens import (
    DAY,
    NOW,
)


def appraise(
    encoded: bytes,
    policy: str = POLICY,
    *,
    now: int = NOW,
    files: Mapping[str, bytes] | None = None,
    fetched: int = NOW - DAY,
    bound: bytes = BOUND,
) -> Appraisal:
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=from_mapping({JWKS: key_set()} if files is None else files, fetched),
        collateral_max_age_seconds=30 * DAY,
    )
    pins = read_format_policy(FORMAT, parse(policy.encode(), "policy"))
    return appraise_parts({TOKEN: encoded}, pins, question)


def refused(encoded: bytes, policy: str = POLICY, **more: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as caught:
        appraise(encoded, policy, **more)
    return next(check.name for check in caught.value.checks if not check.holds)


EXCEPTIONS = 'exceptions = ["unattested-guest"]'
GUEST = "unattested-guest"


def excepting(*names: str) -> str:
    assert EXCEPTIONS in POLICY
    return POLICY.replace(EXCEPTIONS, f"exceptions = {json.dumps(names)}")


def bound_by(rule: str, kind: str, policy: str = POLICY) -> str:
    """Return the policy with another binding for tokens of this type."""
    before, mine, after = policy.partition(f"[{kind}]\n")
    return f"{before}{mine}binding = {json.dumps(rule)}\n" + after.split("\n", 1)[1]
