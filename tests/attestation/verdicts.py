"""Appraise synthetic evidence as `appraise_parts` does, and name the first check that fails."""

from __future__ import annotations

from typing import Any

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import EMPTY
from fedenclave.attestation.format import Format, Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal, Check, EvidenceRefused
from fedenclave.protocol.toml_table import parse

FRESHNESS = 600


def appraise(format_: Format[Any], parts: Parts, policy: str, bound: bytes, now: int) -> Appraisal:
    """Appraise; `policy` is the body of the format's table."""
    return appraise_parts(
        parts,
        read_format_policy(format_, parse(policy.encode(), "policy")),
        Question(
            bound=bound,
            now=now,
            freshness_seconds=FRESHNESS,
            collateral=EMPTY,
            collateral_max_age_seconds=0,
        ),
    )


def first_failure(format_: Format[Any], parts: Parts, policy: str, bound: bytes, now: int) -> Check:
    """Return the first check that fails; it is an error if none does."""
    try:
        appraise(format_, parts, policy, bound, now)
    except EvidenceRefused as error:
        return next(check for check in error.checks if not check.holds)
    raise AssertionError("the evidence was accepted")
