"""Appraise a made-up TPM's evidence in a test, and tell what failed first and what it found."""

from __future__ import annotations

from typing import Any

import pytest

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.attestation.revocations import Revocations
from fedenclave.attestation.tpm.quote_format import FORMAT
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_tpm import NOW, FakeTpm
from tests.attestation.fake_tpm_vendor import vendor_of
from tests.attestation.tpm_structures import BOUND

UNMEASURED_BOOT = '["unmeasured-boot"]'


def appraise(
    parts: Parts,
    text: str,
    *,
    bound: bytes = BOUND,
    now: int = NOW,
    collateral: dict[str, bytes] | None = None,
    revocations: Revocations | None = None,
) -> Appraisal:
    files = vendor_of().collateral() if collateral is None else collateral
    return appraise_parts(
        parts,
        read_format_policy(FORMAT, parse(text.encode(), "policy")),
        Question(
            bound=bound,
            now=now,
            freshness_seconds=600,
            collateral=from_mapping(files, fetched=NOW),
            collateral_max_age_seconds=0,
        ),
        revocations,
    )


def refusal(parts: Parts, text: str, **question: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as refused:
        appraise(parts, text, **question)
    return next(check.name for check in refused.value.checks if not check.holds)


def found(parts: Parts, text: str, **question: Any) -> str:
    """Return what the first check that fails found."""
    with pytest.raises(EvidenceRefused) as refused:
        appraise(parts, text, **question)
    return next(check.found for check in refused.value.checks if not check.holds)


def with_log(tpm: FakeTpm) -> dict[str, bytes]:
    return {**tpm.parts(), "event-log": tpm.log.to_bytes()}
