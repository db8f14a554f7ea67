"""Appraise a fake Google's Confidential Space token in a test, and tell what failed first."""

from collections.abc import Mapping
from typing import Any

import pytest

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import Collateral, from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.google.confidential_space import TOKEN
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_google import BOUND, FORMAT, POLICY, bundle
from tests.attestation.fake_tokens import DAY, NOW


def appraise(
    token: bytes,
    policy: str = POLICY,
    *,
    now: int = NOW,
    files: Mapping[str, bytes] | None = None,
    collateral: Collateral | None = None,
    bound: bytes = BOUND,
) -> Appraisal:
    pins = read_format_policy(FORMAT, parse(policy.encode(), "policy"))
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=collateral or from_mapping(bundle() if files is None else files, NOW - DAY),
        collateral_max_age_seconds=30 * DAY,
    )
    return appraise_parts({TOKEN: token}, pins, question)


def refused(token: bytes, policy: str = POLICY, **more: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as caught:
        appraise(token, policy, **more)
    return next(check.name for check in caught.value.checks if not check.holds)
