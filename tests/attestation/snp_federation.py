"""A federation that accepts the fake AMD's machines: its policy, its evidence, its appraisals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fedenclave.attestation.amd.products import Product
from fedenclave.attestation.amd.report import SigningKey
from fedenclave.attestation.amd.sev_snp import make_format
from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import Collateral, from_mapping
from fedenclave.attestation.format import Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_amd import (
    DAY,
    NOW,
    Machine,
    authorities,
    table,
)

VCEK, VLEK = SigningKey.VCEK, SigningKey.VLEK
MILAN, GENOA, TURIN = Product.MILAN, Product.GENOA, Product.TURIN
FORMAT = make_format(authorities())
MACHINE = Machine()
PROVIDERS = Machine(kind=VLEK)
CHAIN = MACHINE.pem(chain=True)
GOOD_TABLE = table({"vcek": MACHINE.der})
POLICY = """\
exceptions = []
measurements = ["{aa48}"]
host_data = ["{bb32}"]
id_key_digests = ["{zeros48}"]
author_key_digests = ["{zeros48}"]
min_guest_svn = 7
vmpl = 0
min_report_version = 2
signing_keys = ["vcek", "vlek"]
chip_ids = ["any"]
csp_ids = ["CN=cc-test-1.example.com"]
crl = "required"
min_firmware = "1.55.43"
min_policy_abi = "0.0"
mitigations = "0000000000000000"
guest_policy.smt = "any"
guest_policy.single_socket = "any"
guest_policy.cxl = "forbidden"
guest_policy.mem_aes_256_xts = "any"
guest_policy.rapl_disabled = "any"
guest_policy.ciphertext_hiding = "any"
guest_policy.page_swap_disabled = "any"
platform.smt = "any"
platform.tsme = "any"
platform.ecc = "any"
platform.rapl_disabled = "any"
platform.ciphertext_hiding = "any"
platform.alias_check_complete = "required"
platform.iommu_write_safe = "any"
platform.tio = "forbidden"
min_tcb.milan = {{ bootloader = 4, tee = 0, snp = 24, microcode = 219 }}
min_tcb.genoa = {{ bootloader = 10, tee = 0, snp = 25, microcode = 84 }}
min_tcb.turin = {{ fmc = 1, bootloader = 2, tee = 3, snp = 4, microcode = 75 }}
""".format(aa48="aa" * 48, bb32="bb" * 32, zeros48="00" * 48)


def policy_with(**lines: str) -> str:
    """Return the policy with other values (TOML) for keys; `_` for the dot in a dotted key."""
    text = []
    left = dict(lines)
    for line in POLICY.splitlines():
        key = line.partition(" = ")[0]
        value = left.pop(key.replace(".", "__"), None)
        text.append(line if value is None else f"{key} = {value}" if value else "")
    assert not left
    return "\n".join(text)


def evidence(machine: Machine = MACHINE, **report: object) -> dict[str, bytes]:
    return {"report": machine.report(**report), "certificates": machine.der}


def crls(*machines: Machine, **crl: Any) -> dict[str, bytes]:
    return {f"amd/{m.product}/{m.kind.name.lower()}.crl": m.crl(**crl) for m in machines}


EVERY_CRL = crls(*(Machine(product=p, kind=k) for p in Product for k in (VCEK, VLEK)))


def appraise(
    parts: Parts,
    policy: str = POLICY,
    *,
    bundle: Mapping[str, bytes] | Collateral = EVERY_CRL,
    bound: bytes = b"\xd0" * 64,
    now: int = NOW,
    fetched: int = NOW - DAY,
    max_age: int = 40 * DAY,
) -> Appraisal:
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=bundle if isinstance(bundle, Collateral) else from_mapping(bundle, fetched),
        collateral_max_age_seconds=max_age,
    )
    return appraise_parts(
        parts, read_format_policy(FORMAT, parse(policy.encode(), "policy")), question
    )


def refused(*arguments: Any, **keywords: Any) -> str:
    """Return the name of the first check that does not hold."""
    with pytest.raises(EvidenceRefused) as refusal:
        appraise(*arguments, **keywords)
    return next(check.name for check in refusal.value.checks if not check.holds)
