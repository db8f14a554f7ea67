"""Appraise a fake NVIDIA's evidence in a test, alone or beside a CPU's; tell what failed first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.nvidia import gpu
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT
from fedenclave.attestation.nvidia.policy import read_gpu_policy
from fedenclave.attestation.result import Appraisal, Claims, EvidenceRefused
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import DAY, FORMAT, GPU_OPAQUE, NONCE, NOW, REPORT_DATA

POLICY = """
architectures = ["hopper"]
modes = ["single-gpu"]
minimum_driver = "580.95.05"
drivers = ["any"]
vbios = ["any"]
device_ids = ["any"]
reference_manifests = "none"
revocation = "none"
exceptions = ["gpu-reference-manifests-not-compared"]
"""
STRICT = (
    POLICY.replace('manifests = "none"', 'manifests = "required"')
    .replace('revocation = "none"', 'revocation = "ocsp"')
    .replace('["gpu-reference-manifests-not-compared"]', "[]")
)
ANY = (
    POLICY.replace('["hopper"]', '["hopper", "blackwell", "ls10"]')
    .replace('["single-gpu"]', '["single-gpu", "multi-gpu", "protected-pcie", "not-reported"]')
    .replace('"580.95.05"', '"0.0"')
)


def question(
    files: Mapping[str, bytes] | None = None, *, bound: bytes = NONCE, now: int = NOW, **more: Any
) -> Question:
    values = {
        "freshness_seconds": 600,
        "collateral": from_mapping(files or {}, fetched=NOW - 60),
        "collateral_max_age_seconds": 40 * DAY,
    }
    return Question(bound=bound, now=now, **(values | more))


def appraise(
    parts: Mapping[str, bytes] | None = None,
    text: str = POLICY,
    asked: Question | None = None,
) -> Appraisal:
    chosen = read_format_policy(FORMAT, parse(text.encode(), "policy"))
    return appraise_parts(fake.parts() if parts is None else parts, chosen, asked or question())


def refusal(*args: Any, **more: Any) -> tuple[str, str]:
    """Return name and finding of the first check that fails."""
    with pytest.raises(EvidenceRefused) as refused:
        appraise(*args, **more)
    first = next(check for check in refused.value.checks if not check.holds)
    return first.name, first.found


def with_fields(**changes: Any) -> dict[str, bytes]:
    """Return parts whose opaque data differs in the fields named `f<number>`; None removes one."""
    fields = {**GPU_OPAQUE, **{int(name[1:]): value for name, value in changes.items()}}
    return fake.parts(fields={n: value for n, value in fields.items() if value is not None})


def of_chain(chain: tuple[x509.Certificate, ...], **changes: Any) -> dict[str, bytes]:
    return {REPORT: fake.report(**changes), CERTIFICATES: fake.pem(chain)}


def everything() -> dict[str, bytes]:
    answers = fake.ocsp_files(fake.device_chain()[1:], fake.rim_chain())
    return {**fake.manifests(), **answers}


def refused_by(files: Mapping[str, bytes], source: str = "ocsp", **more: Any) -> tuple[str, str]:
    text = POLICY.replace('revocation = "none"', f'revocation = "{source}"')
    return refusal(text=text, asked=question(files, **more))


GPU_POLICY = "[gpu]\ndevices = 1\n" + POLICY.replace('["single-gpu"]', '["single-gpu"]')


def appraise_beside(
    parts: Mapping[str, bytes], text: str = GPU_POLICY, report_data: bytes = REPORT_DATA
) -> Claims:
    chosen = read_gpu_policy(parse(text.encode(), "policy").take_table("gpu"))
    checklist = Checklist(chosen.exceptions)
    asked = replace(question(bound=b"the CPU's"), report_data=report_data)
    claims = gpu.appraise_gpu(parts, chosen, asked, checklist, fake.ROOTS)
    checklist.finish(gpu.ALWAYS)
    return claims


def refused_beside(*args: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(EvidenceRefused) as refused:
        appraise_beside(*args, **more)
    first = next(check for check in refused.value.checks if not check.holds)
    return first.name, first.found


def numbered(*devices: Mapping[str, bytes]) -> dict[str, bytes]:
    return {
        f"gpu-{name}-{number}": data
        for number, device in enumerate(devices)
        for name, data in device.items()
    }
