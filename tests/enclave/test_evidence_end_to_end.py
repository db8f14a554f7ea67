"""From an interface's answer to a client's verdict: what attesters hand out is what verifiers read.

The vendors and the interfaces are fakes; what lies between them is the enclave's and the client's
own code, and the evidence travels as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attestation.appraise import appraise_parts, parts_of
from fedenclave.attestation.arm import cca
from fedenclave.attestation.collateral import EMPTY, Collateral, from_mapping
from fedenclave.attestation.event_log import parse_event_log, replay
from fedenclave.attestation.format import Format, Question, read_format_policy
from fedenclave.attestation.intel import sgx, tdx
from fedenclave.attestation.jws import text_binding
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status
from fedenclave.enclave.attesters.choose import choose
from fedenclave.enclave.attesters.confidential_space import AUDIENCE
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.toml_table import parse
from tests.attestation import (
    fake_amd,
    fake_arm,
    fake_aws,
    fake_event_log,
    fake_google,
    fake_intel,
    snp_federation,
)
from tests.enclave.fake_kernel import CCEL, ConfigfsTsm, FakeKernel, Gramine, nsm, sev_guest
from tests.enclave.fake_launcher import launcher

KEY = Ed25519PrivateKey.generate()
DATA = bytes(range(64))


def collect(choice: str, kernel: Kernel, data: bytes = DATA) -> Evidence:
    """Return evidence as it arrives at a client."""
    attester = choose(choice, measurement=Digest(bytes(32)), protections=[], kernel=kernel)
    return Evidence.from_bytes(attester.evidence(data, KEY).to_bytes())


def appraised(
    evidence: Evidence, format_: Format[Any], policy: str, now: int, collateral: Collateral = EMPTY
) -> Appraisal:
    """Appraise as for somebody who wants `DATA` bound."""
    assert evidence.format == format_.name
    question = Question(
        bound=format_.bind(DATA),
        now=now,
        freshness_seconds=600,
        collateral=collateral,
        collateral_max_age_seconds=40 * fake_amd.DAY,
    )
    table = parse(policy.encode(), "policy")
    return appraise_parts(parts_of(evidence), read_format_policy(format_, table), question)


def refused(*arguments: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as refusal:
        appraised(*arguments)
    return next(check.name for check in refusal.value.checks if not check.holds)


# -- SEV-SNP: through configfs-tsm, and through the device of older kernels


def snp_kernel(certificates: Mapping[str, bytes], **report: Any) -> tuple[FakeKernel, FakeKernel]:
    def report_over(data: bytes) -> bytes:
        return fake_amd.Machine().report(report_data=data, **report)

    table = fake_amd.table(dict(certificates)) if certificates else b""
    tsm = ConfigfsTsm("sev_guest", report_over, certificates=table)
    return FakeKernel(tsm=tsm), FakeKernel(
        devices={"/dev/sev-guest": sev_guest(report_over, table)}
    )


SNP: tuple[Any, ...] = (
    snp_federation.FORMAT,
    snp_federation.POLICY,
    fake_amd.NOW,
    from_mapping(snp_federation.EVERY_CRL, fake_amd.NOW - fake_amd.DAY),
)


@pytest.mark.parametrize("interface", [0, 1], ids=["configfs-tsm", "sev-guest"])
@pytest.mark.parametrize("choice", ["auto", "sev-snp"])
def test_a_snp_guest_is_affirmed_with_the_hosts_certificates(interface: int, choice: str) -> None:
    kernel = snp_kernel({"vcek": fake_amd.Machine().der})[interface]
    evidence = collect(choice, kernel)
    assert set(parts_of(evidence)) == {"report", "certificate-table"}
    assert appraised(evidence, *SNP).status is Status.AFFIRMING
    assert refused(collect(choice, kernel, DATA[::-1]), *SNP) == "report data"


@pytest.mark.parametrize("interface", [0, 1], ids=["configfs-tsm", "sev-guest"])
def test_a_snp_guest_in_debug_mode_is_refused(interface: int) -> None:
    kernel = snp_kernel({"vcek": fake_amd.Machine().der}, policy=0xB0000)[interface]
    assert refused(collect("sev-snp", kernel), *SNP) == "debug"


# -- Intel


def filled(format_: Format[Any], **values: str) -> str:
    """Return the format's template as an administrator fills it in; values are TOML."""
    lines = format_.template.splitlines()
    keys = [line.partition(" = ")[0] for line in lines]
    for key, value in values.items():
        lines[keys.index(key)] = f"{key} = {value}"
    return "\n".join(line for line in lines if not line.startswith("["))


def test_an_sgx_enclave_in_gramine_is_affirmed() -> None:
    intel = fake_intel.FakeIntel()
    kernel = FakeKernel(gramine=Gramine(lambda data: intel.sgx_quote(report_data=data)))
    format_ = sgx.make_format(intel.root)
    policy = filled(format_, mrenclave=f'["{"11" * 32}"]', isv_prod_id="7", min_isv_svn="3")
    bundle = from_mapping(intel.collateral("SGX"), fake_intel.NOW)
    wanted = (format_, policy, fake_intel.NOW, bundle)
    assert appraised(collect("auto", kernel), *wanted).status is Status.AFFIRMING
    assert refused(collect("sgx", kernel, DATA[::-1]), *wanted) == "report data"


def firmware_log() -> bytes:
    """Return the area that a TD's firmware fills: an event for each of RTMR 0 to 2, and fill."""
    log = fake_event_log.Log(banks=("sha384",))
    log.add(1, 0x80000002, b"Boot0001")
    log.add(2, 0x80000003, b"path of the loader", b"loader")
    log.add(3, 0xD, b"linux")
    return log.to_bytes() + b"\xff" * 5000


@pytest.mark.parametrize("readable", [False, True])
def test_a_trust_domain_is_affirmed_with_and_without_its_event_log(readable: bool) -> None:
    intel, log = fake_intel.FakeIntel(), firmware_log()
    values = replay(parse_event_log(log), "sha384")
    registers = {f"rtmr{number}": values[number + 1] for number in range(3)}
    tsm = ConfigfsTsm("tdx_guest", lambda data: intel.td_quote(report_data=data, **registers))
    kernel = FakeKernel(tsm=tsm, files={CCEL: log} if readable else {})
    format_ = tdx.make_format(intel.root)
    pins = {name: f'["{value.hex()}"]' for name, value in registers.items()}
    policy = filled(format_, mrtd=f'["{"44" * 48}"]', **pins)
    bundle = from_mapping(intel.collateral("TDX"), fake_intel.NOW)
    wanted = (format_, policy, fake_intel.NOW, bundle)
    evidence = collect("auto", kernel)
    assert set(parts_of(evidence)) == {"quote"} | ({"event-log"} if readable else set())
    assert appraised(evidence, *wanted).status is Status.AFFIRMING
    assert refused(collect("tdx", kernel, DATA[::-1]), *wanted) == "report data"


# -- AWS


def test_a_nitro_enclave_is_affirmed() -> None:
    aws = fake_aws.fake_aws()
    kernel = FakeKernel(devices={"/dev/nsm": nsm(lambda data: aws.document(user_data=data))})
    wanted = (aws.format(), fake_aws.policy(), fake_aws.NOW)
    assert appraised(collect("auto", kernel), *wanted).status is Status.AFFIRMING
    assert refused(collect("nitro", kernel, DATA[::-1]), *wanted) == "report data"


# -- Google


def test_a_confidential_space_is_affirmed(tmp_path: Path) -> None:
    def token(asked: dict[str, Any]) -> bytes:
        said = fake_google.claims(aud=asked["audience"], eat_nonce=asked["nonces"][0])
        return fake_google.pki_token(said) if asked["token_type"] == "PKI" else b""

    policy = fake_google.POLICY.replace(fake_google.AUDIENCE, AUDIENCE)
    wanted = (fake_google.FORMAT, policy, fake_google.NOW)
    choice = f"confidential-space:{tmp_path}/s"
    with launcher(tmp_path / "s", token) as server:
        evidence = collect(choice, Kernel())
        other = collect(choice, Kernel(), DATA[::-1])
    assert server.asked[0]["nonces"] == [text_binding(DATA).decode()]
    assert appraised(evidence, *wanted).status is Status.AFFIRMING
    assert refused(other, *wanted) == "report data"


# -- Arm


def test_a_cca_realm_is_affirmed() -> None:
    def token(data: bytes) -> bytes:
        return fake_arm.cca_token(realm={10: data})

    kernel = FakeKernel(tsm=ConfigfsTsm("arm_cca_guest", token))
    wanted = (cca.FORMAT, fake_arm.cca_policy(), 1_800_000_000)
    assert appraised(collect("auto", kernel), *wanted).status is Status.AFFIRMING
    assert refused(collect("cca", kernel, DATA[::-1]), *wanted) == "report data"
