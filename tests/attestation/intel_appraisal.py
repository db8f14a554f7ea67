"""Appraise a fake Intel's evidence in a test: the pins that fit it, and what failed first."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import Collateral, from_mapping
from fedenclave.attestation.format import Format, FormatPolicy, Parts, Question, read_format_policy
from fedenclave.attestation.intel import sgx, tdx
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.protocol.toml_table import Table
from tests.attestation.fake_intel import DAY, NOW, FakeIntel

BOUND = b"\x99" * 64
INTEL = FakeIntel()
SGX, TDX = sgx.make_format(INTEL.root), tdx.make_format(INTEL.root)
ROOT_CRL, PCK_CRL = "intel/root-ca-crl.der", "intel/pck-crl-platform.der"
TCB_INFO = "intel/tdx/tcb-info/b0c06f000000.json"
QE_IDENTITY = "intel/tdx/qe-identity.json"
FITTING: Mapping[str, Mapping[str, Any]] = {
    "sgx": {"mrenclave": ["11" * 32], "mrsigner": ["22" * 32], "isv_prod_id": 7, "min_isv_svn": 3},
    "tdx": {
        "mrtd": ["44" * 48],
        "rtmr0": ["50" * 48],
        "rtmr1": ["51" * 48],
        "rtmr2": ["52" * 48],
        "mrseam": ["33" * 48],
    },
}


def template(format_: Format[Any]) -> dict[str, Any]:
    return tomllib.loads(format_.template)["attestation"][format_.name]


def without(format_: Format[Any]) -> list[str]:
    """Every key of the policy, each of which must be there."""
    return list(template(format_))


def policy(format_: Format[Any], *, without: str = "", **changes: Any) -> FormatPolicy:
    """The template's policy with the pins that fit, changed; `without` is a key to leave out."""
    table = template(format_) | FITTING[format_.name] | changes
    table.pop(without, None)
    return read_format_policy(format_, Table(table, "policy"))


def question(bundle: Collateral, now: int = NOW, **changes: Any) -> Question:
    values = {
        "bound": BOUND,
        "now": now,
        "freshness_seconds": 600,
        "collateral": bundle,
        "collateral_max_age_seconds": 40 * DAY,
    }
    return Question(**values | changes)


def td(**quoted: object) -> bytes:
    return INTEL.td_quote(report_data=BOUND, quoted=quoted)


def tee(format_: Format[Any]) -> str:
    return format_.name.upper()


def judge(
    format_: Format[Any],
    evidence: bytes | Parts,
    *,
    pins: FormatPolicy | None = None,
    bundle: Collateral | None = None,
    vendor: FakeIntel = INTEL,
    now: int = NOW,
    collateral: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Appraisal:
    """Appraise `evidence` (a quote, or all parts) with valid collateral, changed as told."""
    if bundle is None:
        bundle = from_mapping(vendor.collateral(tee(format_), **(collateral or {})), NOW)
    parts = {"quote": evidence} if isinstance(evidence, bytes) else evidence
    return appraise_parts(parts, pins or policy(format_), question(bundle, now, **asked))


def first_failure(format_: Format[Any], evidence: bytes | Parts, **given: Any) -> str:
    """The name of the first check that fails; empty if the evidence is affirmed."""
    try:
        judge(format_, evidence, **given)
    except EvidenceRefused as error:
        return next(check.name for check in error.checks if not check.holds)
    return ""
