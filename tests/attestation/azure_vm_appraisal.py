"""Appraise a made-up Azure confidential VM in a test: the pins that fit, and what failed first."""

import copy
import json
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.attestation.revocations import Revocations
from fedenclave.protocol.toml_table import Table
from tests.attestation import fake_amd, fake_intel
from tests.attestation.fake_azure import (
    BOUND,
    FORMAT,
    MEASUREMENT,
    PCRS,
    VM_ID,
    amd_bundle,
    intel_bundle,
    runtime_claims,
    snp_parts,
    tdx_parts,
)

DAY = 24 * 3600
BUNDLE = {**intel_bundle(), **amd_bundle()}
SNP, TDX = snp_parts(), tdx_parts()
JSON_OF_SNP = json.dumps(runtime_claims()).encode()


def policy_table(**changes: Any) -> dict[str, Any]:
    """Return the template's table with the pins that fit, changed; `a__b` is `b` in table `a`."""
    whole: dict[str, Any] = tomllib.loads(FORMAT.template)["attestation"]["azure-vm"]
    table = copy.deepcopy(whole)
    table |= {
        "vm_ids": [VM_ID],
        "measurements": [MEASUREMENT.hex()],
        "exceptions": ["sept-ve"],
        "pcrs": {"4": [PCRS[4].hex()], "7": [PCRS[7].hex()], "11": ["any"]},
        "vm-configuration": {
            "console-enabled": "any",
            "secure-boot": True,
            "tpm-enabled": True,
            "tpm-persisted": True,
        },
    }
    table["sev-snp"] |= {"measurements": ["aa" * 48]}
    table["tdx"] |= {
        "mrtd": ["44" * 48],
        "rtmr0": ["50" * 48],
        "rtmr1": ["51" * 48],
        "rtmr2": ["52" * 48],
        "td_attributes": ["00" * 8],
    }
    for path, value in changes.items():
        *names, last = path.replace("_SNP", "sev-snp").split("__")
        inner = table
        for name in names:
            inner = inner[name]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return table


def appraise(
    parts: Parts,
    *,
    table: dict[str, Any] | None = None,
    bundle: Mapping[str, bytes] | None = None,
    bound: bytes = BOUND,
    revocations: Revocations | None = None,
) -> Appraisal:
    # Each fake vendor has a time of its own.
    now = fake_intel.NOW if "td-quote" in parts else fake_amd.NOW
    policy = read_format_policy(FORMAT, Table(table or policy_table(), "policy"))
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=from_mapping(BUNDLE if bundle is None else bundle, now),
        collateral_max_age_seconds=400 * DAY,
    )
    return appraise_parts(parts, policy, question, revocations)


def refused(parts: Parts, **more: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as caught:
        appraise(parts, **more)
    return next(check.name for check in caught.value.checks if not check.holds)
