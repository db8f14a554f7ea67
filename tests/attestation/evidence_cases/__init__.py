"""The cases of every vendor, in one list."""

from __future__ import annotations

from tests.attestation.cases import Case
from tests.attestation.evidence_cases import (
    amd,
    arm,
    aws,
    azure,
    azure_maa,
    google,
    intel,
    nvidia,
    tpm,
)

VENDORS = (amd, arm, aws, azure, azure_maa, google, intel, nvidia, tpm)
CASES: list[Case] = [case for vendor in VENDORS for case in vendor.CASES]
