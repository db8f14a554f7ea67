"""NVIDIA GPUs of a fake NVIDIA: what is affirmed, and who signed what for which nonce.

The other test_nvidia_*.py are about what a report holds, what a policy pins, and what is compared
with files of NVIDIA's.
"""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.nvidia import format as nvidia
from fedenclave.attestation.nvidia import gpu, opaque, policy
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import DAY, FORMAT, GPU_OPAQUE, NONCE, NOW, REPORT_DATA
from tests.attestation.gpu_appraisal import (
    ANY,
    POLICY,
    STRICT,
    appraise,
    everything,
    of_chain,
    question,
    refusal,
    with_fields,
)

# What is affirmed.


def test_a_gpu_with_manifests_and_ocsp_is_affirmed() -> None:
    result = appraise(text=STRICT, asked=question(everything()))
    assert result.status is Status.AFFIRMING
    assert result.claims.claims["secboot"] is True
    assert result.claims.claims["dbgstat"] == "disabled"
    # The device's four, its root, the manifests' three, and their root; each in two spellings.
    assert len(result.claims.identifiers["certificate"]) == 18
    assert result.claims.identifiers["device-id"] == ("41e23d711e1c4fbfac",)


def test_a_gpu_without_manifests_is_a_warning_and_claims_no_debug_status() -> None:
    result = appraise()
    assert result.status is Status.WARNING
    assert [check.excepted for check in result.checks if check.excepted] == [policy.NO_MANIFESTS]
    assert not result.claims.claims.keys() & {"secboot", "dbgstat", "measres"}


def test_a_chain_without_its_root_and_with_other_line_ends_is_the_same_chain() -> None:
    whole = fake.pem(fake.device_chain())
    for changed in (
        fake.pem(fake.device_chain()[:-1]),
        whole.replace(b"\n", b"\r\n"),
        whole.rstrip(b"\n"),
    ):
        assert appraise({**fake.parts(), CERTIFICATES: changed}).claims == appraise().claims


def test_blackwell_and_its_dice_extension_are_understood() -> None:
    parts = of_chain(
        fake.device_chain("GB100"),
        signer="GB100 A01 GSP FMC LF",
        fields={
            **GPU_OPAQUE,
            opaque.FEATURE_FLAG: b"\1\0",
            opaque.CHIP_INFO: b"GB100\0",
        },
    )
    claims = appraise(parts, ANY).claims.claims
    assert (claims["architecture"], claims["mode"]) == ("blackwell", "multi-gpu")


def test_an_nvswitch_has_neither_driver_nor_mode() -> None:
    parts = {REPORT: fake.switch_report(), CERTIFICATES: fake.pem(fake.device_chain("LS_10"))}
    claims = appraise(parts, ANY).claims.claims
    assert claims["vbios-version"] == "96.10.55.00.01"
    assert not claims.keys() & {"driver-version", "mode"}


def test_opaque_data_with_a_header_is_understood() -> None:
    fields = {**GPU_OPAQUE, 37: b"\x03\0"}
    del fields[opaque.OPAQUE_VERSION]
    data = fake.versioned_opaque_data(fields, {37: 0x87, opaque.FIRMWARE_ID: 1})
    claims = appraise(fake.parts(data=data)).claims.claims
    named = claims["opaque-data"]
    assert isinstance(named, dict)
    assert named["security-version-37"] == "0300"


# Chain, signature, firmware.


def test_a_device_of_another_vendor_is_refused() -> None:
    forged = fake.certificate("NVIDIA GH100 Identity", "Somebody's Root", serial=4)
    assert refusal(of_chain((*fake.device_chain()[:3], forged)))[0] == "device chain"


def test_a_chain_of_two_devices_is_refused() -> None:
    other = fake.certificate(
        "another provisioner", "NVIDIA GH100 Identity", crl="http://x/crl/l2-gh100.crl"
    )
    chain = fake.device_chain()
    assert refusal(of_chain((*chain[:2], other, *chain[3:])))[0] == "device chain"


def test_a_chain_is_judged_at_the_time_of_the_question() -> None:
    for now in (NOW - 2000 * DAY, 253_402_300_800):
        assert refusal(asked=question(now=now))[0] == "device chain validity"


def test_a_leaf_that_is_a_ca_or_may_not_sign_is_refused() -> None:
    assert refusal(of_chain(fake.device_chain(leaf_ca=True)))[0] == "device key"
    assert refusal(of_chain(fake.device_chain(leaf_signs=False)))[0] == "device key"


def test_a_leaf_with_another_kind_of_key_is_refused() -> None:
    chain = fake.device_chain(leaf="a P-256 leaf")
    assert refusal(of_chain(chain)) == ("device key", "another kind of key")


def test_a_report_signed_by_another_device_is_refused() -> None:
    assert refusal(fake.parts(signer="another leaf"))[0] == "report signature"


def test_a_report_of_another_firmware_than_the_certificate_is_refused() -> None:
    assert refusal(with_fields(f20=bytes(48)))[0] == "firmware id"


def test_a_report_without_a_firmware_id_needs_its_exception() -> None:
    parts = with_fields(f20=None)
    assert refusal(parts) == ("firmware id", "not reported")
    excepted = POLICY.replace("exceptions = [", 'exceptions = ["gpu-firmware-id-not-reported", ')
    assert appraise(parts, excepted).status is Status.WARNING


# Binding.


def test_another_nonce_is_refused() -> None:
    assert refusal(asked=question(bound=bytes(32)))[0] == "report data"


def test_the_nonce_is_derived_from_the_report_data() -> None:
    assert FORMAT.bind(REPORT_DATA) == gpu.gpu_nonce(REPORT_DATA) == NONCE
    assert len(NONCE) == 32
    assert gpu.gpu_nonce(bytes(64)) != NONCE


# Files and inspection.


def test_evidence_as_nvidias_tool_writes_it_is_recognised() -> None:
    parts = fake.parts()
    entry = {
        "arch": "HOPPER",
        "evidence": base64.b64encode(parts[REPORT]).decode(),
        "certificate": base64.b64encode(parts[CERTIFICATES]).decode(),
    }
    assert nvidia.recognise(json.dumps([entry]).encode()) == parts
    assert nvidia.recognise(json.dumps(entry).encode()) == parts
    for other in (
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"evidence": 5, "certificate": "x"}',
        b'{"evidence": "ABCD", "certificate": "ABCD"}',
        b'{"evidence": "\xff"}',
        json.dumps([entry, entry]).encode(),
    ):
        assert nvidia.recognise(other) is None


def test_a_report_can_be_looked_at_without_any_check() -> None:
    seen = FORMAT.inspect(fake.parts(nonce=bytes(32), signer="nobody"))
    assert seen["driver-version"] == fake.DRIVER
    assert seen["reference-manifests"] == [
        f"NV_GPU_DRIVER_GH100_{fake.DRIVER}",
        "NV_GPU_VBIOS_1010_0200_882_96009F0001",
    ]
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({REPORT: b"", CERTIFICATES: b""})


def test_the_pinned_roots_are_nvidias() -> None:
    roots = gpu.pinned_roots()
    assert "NVIDIA Device Identity CA" in roots.device.subject.rfc4514_string()
    assert "NVIDIA CoRIM signing Root CA" in roots.manifests.subject.rfc4514_string()


# Whatever bytes come in.


@pytest.mark.parametrize("part", [REPORT, CERTIFICATES])
def test_one_changed_byte_is_never_affirmed(part: str) -> None:
    good = fake.parts()
    chosen = read_format_policy(FORMAT, parse(ANY.encode(), "policy"))
    for position in range(0, len(good[part]), 11):
        changed = bytearray(good[part])
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceRefused):
            appraise_parts({**good, part: bytes(changed)}, chosen, question())


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_random_bytes_are_refused_and_nothing_else(report: bytes, certificates: bytes) -> None:
    good = fake.parts()
    for parts in (
        {REPORT: report, CERTIFICATES: good[CERTIFICATES]},
        {REPORT: good[REPORT][:45] + report, CERTIFICATES: good[CERTIFICATES]},
        {REPORT: good[REPORT], CERTIFICATES: certificates},
    ):
        with pytest.raises(EvidenceRefused):
            appraise(parts)
    nvidia.recognise(report)


@given(st.binary(max_size=300))
def test_random_opaque_data_is_refused_and_nothing_else(data: bytes) -> None:
    for prefix in (b"", opaque.MAGIC + b"\0\0\2\0\0\0"):
        with pytest.raises(EvidenceRefused):
            appraise(fake.parts(data=prefix + data))
