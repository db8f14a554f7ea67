"""Appraise a made-up device's PSA token in a test, and tell what failed first."""

from __future__ import annotations

from fedenclave.attestation.arm.psa import FORMAT, TOKEN
from fedenclave.attestation.result import Appraisal
from tests.attestation import verdicts
from tests.attestation.fake_arm import (
    BOUND,
    NOW,
    PSA_1,
    psa_policy,
)

OLD_POLICY = {"profiles": f'["{PSA_1}"]', "certification_references": '["0604565272829"]'}


def appraise(token: bytes, text: str = "", bound: bytes = BOUND) -> Appraisal:
    return verdicts.appraise(FORMAT, {TOKEN: token}, text or psa_policy(), bound, NOW)


def refusal(token: bytes, text: str = "", bound: bytes = BOUND) -> str:
    return verdicts.first_failure(FORMAT, {TOKEN: token}, text or psa_policy(), bound, NOW).name
