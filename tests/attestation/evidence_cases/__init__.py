"""The cases of every vendor, in one list."""

from __future__ import annotations

from tests.attestation.cases import Case
from tests.attestation.evidence_cases import (
    amd,
    amd_oak,
    arm,
    aws,
    azure,
    azure_maa,
    google,
    nvidia,
    sgx,
    tdx,
    tpm,
)

VENDORS = (amd, amd_oak, arm, aws, azure, azure_maa, google, sgx, tdx, nvidia, tpm)
CASES: list[Case] = [case for vendor in VENDORS for case in vendor.CASES]
