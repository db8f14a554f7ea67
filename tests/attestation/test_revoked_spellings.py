"""A revoked certificate stays revoked when an attacker writes its signature in the other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.certificates import fingerprint
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Format, FormatPolicy, Parts, Question, read_format_policy
from fedenclave.attestation.nvidia.format import CERTIFICATES
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.attestation.tpm.quote_format import FORMAT as TPM
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_aws, fake_intel, fake_nvidia, fake_tpm, tpm_structures
from tests.attestation.fake_intel import DAY, NOW
from tests.attestation.gpu_appraisal import POLICY as GPU_POLICY
from tests.attestation.intel_appraisal import BOUND, INTEL, SGX, TDX
from tests.attestation.intel_appraisal import policy as fitting
from tests.attestation.second_spelling import digest, respelt, revoking

Evidence = tuple[Parts, FormatPolicy, Question]


def question(bound: bytes, now: int, files: dict[str, bytes]) -> Question:
    return Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=from_mapping(files, now),
        collateral_max_age_seconds=40 * DAY,
    )


def policy(format_: Format[Any], body: str) -> FormatPolicy:
    return read_format_policy(format_, parse(body.encode(), "policy"))


def first_failure(evidence: Evidence, revoked: str) -> str:
    """Return the first check that fails where the members have revoked this fingerprint."""
    parts, chosen, asked = evidence
    listed = revoking(chosen.format.name, "certificate", revoked)
    try:
        appraise_parts(parts, chosen, asked, listed)
    except EvidenceRefused as error:
        return next(check.name for check in error.checks if not check.holds)
    return ""


def assert_revoked_in_both(one: Evidence, other: Evidence, names: Sequence[str]) -> None:
    for evidence in (one, other):
        assert first_failure(evidence, "00" * 32) == ""
        for name in names:
            assert first_failure(evidence, name) == "revoked certificate"


def tpm(machine: fake_tpm.FakeTpm) -> Evidence:
    parts = {**machine.parts(), **machine.endorsed("alpha", "beta")}
    asked = question(tpm_structures.BOUND, fake_tpm.NOW, machine.vendor.collateral())
    return parts, policy(TPM, fake_tpm.by_challenge(machine)), asked


def nitro(**fields: Any) -> Evidence:
    aws = fake_aws.fake_aws()
    parts = {"document": aws.document(**fields)}
    asked = question(fake_aws.BOUND, fake_aws.NOW, {})
    return parts, policy(aws.format(), fake_aws.policy()), asked


def intel(format_: Format[Any], chain: bytes | None = None) -> Evidence:
    quoted = {} if chain is None else {"chain": chain}
    make = INTEL.sgx_quote if format_ is SGX else INTEL.td_quote
    asked = question(BOUND, NOW, INTEL.collateral(format_.name.upper()))
    return {"quote": make(quoted=quoted, report_data=BOUND)}, fitting(format_), asked


def gpu(chain: bytes) -> Evidence:
    parts = {**fake_nvidia.parts(), CERTIFICATES: chain}
    asked = question(fake_nvidia.NONCE, fake_nvidia.NOW, {})
    return parts, policy(fake_nvidia.FORMAT, GPU_POLICY), asked


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(encoded: bytes) -> bytes:
    return x509.load_der_x509_certificate(encoded).public_bytes(Encoding.PEM)


def test_a_tpm_vendors_authority_cannot_leave_the_list_by_its_other_spelling() -> None:
    machine = fake_tpm.FakeTpm()
    authority = machine.vendor.intermediate
    other = respelt(authority, "secp256r1")
    leaf = der(machine.ek_certificate)
    chains = (leaf + der(authority), leaf + other)
    found = [{**tpm(machine)[0], "ek-certificates": chain} for chain in chains]
    _, chosen, asked = tpm(machine)
    one, another = ((parts, chosen, asked) for parts in found)
    assert_revoked_in_both(one, another, [fingerprint(authority), digest(other)])


def test_a_nitro_leaf_cannot_leave_the_list_by_its_other_spelling() -> None:
    leaf = fake_aws.fake_aws().leaf
    other = respelt(leaf, "secp384r1")
    assert_revoked_in_both(nitro(), nitro(certificate=other), [fingerprint(leaf), digest(other)])


def test_a_gpu_cannot_leave_the_list_by_the_other_spelling_of_its_certificate() -> None:
    leaf, *above = fake_nvidia.device_chain()
    other = respelt(leaf, "secp384r1")
    one, another = (gpu(first + fake_nvidia.pem(above)) for first in (pem(der(leaf)), pem(other)))
    assert_revoked_in_both(one, another, [fingerprint(leaf), digest(other)])


@pytest.mark.parametrize("format_", [SGX, TDX], ids=["sgx", "tdx"])
def test_an_intel_platform_cannot_leave_the_list_by_the_other_spelling_of_its_certificate(
    format_: Format[Any],
) -> None:
    other = respelt(INTEL.leaf, "secp256r1")
    chain = pem(other) + fake_intel.pem(INTEL.ca, INTEL.root)
    names = [fingerprint(INTEL.leaf), digest(other)]
    assert_revoked_in_both(intel(format_), intel(format_, chain), names)
