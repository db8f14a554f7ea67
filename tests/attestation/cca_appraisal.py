"""Appraise a CCA token of a synthetic platform in a test, and tell which check failed first."""

from __future__ import annotations

from fedenclave.attestation.arm.cca import FORMAT, TOKEN
from fedenclave.attestation.result import Appraisal
from tests.attestation import verdicts
from tests.attestation.fake_arm import BOUND, NOW, PLATFORM_2, REALM_2, cca_policy

SECOND = {"profiles": (PLATFORM_2, REALM_2), "tag": 907, "wrapped": True}
SECOND_POLICY = {
    "platform_profiles": f'["{PLATFORM_2}"]',
    "realm_profiles": f'["{REALM_2}"]',
    "mec_policies": '["private"]',
    "lfa_policies": '["disallow"]',
}
BOTH_DEBUG = '["non-platform-rot-debug", "recoverable-platform-rot-debug"]'


def appraise(token: bytes, text: str = "", bound: bytes = BOUND) -> Appraisal:
    return verdicts.appraise(FORMAT, {TOKEN: token}, text or cca_policy(), bound, NOW)


def refusal(token: bytes, text: str = "", bound: bytes = BOUND) -> str:
    return verdicts.first_failure(FORMAT, {TOKEN: token}, text or cca_policy(), bound, NOW).name
