"""NVIDIA GPUs: what a policy pins, and how one is written."""

from typing import Any

import pytest

from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.nvidia import policy
from fedenclave.attestation.nvidia.dice import TCB_INFO
from fedenclave.attestation.nvidia.policy import read_gpu_policy
from fedenclave.attestation.result import Status
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import FORMAT
from tests.attestation.gpu_appraisal import (
    ANY,
    GPU_POLICY,
    POLICY,
    appraise,
    appraise_beside,
    of_chain,
    refusal,
    with_fields,
)

# What a policy pins.


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ('["hopper"]', '["blackwell"]', "architecture"),
        ('["single-gpu"]', '["multi-gpu"]', "mode"),
        ('"580.95.05"', '"580.95.06"', "minimum driver"),
        ('"580.95.05"', '"581.0"', "minimum driver"),
        ('drivers = ["any"]', 'drivers = ["580.95.06"]', "driver"),
        ('vbios = ["any"]', 'vbios = ["96.00.9F.00.02"]', "vbios"),
        ('device_ids = ["any"]', 'device_ids = ["41e23d711e1c4fbfad"]', "device id"),
    ],
)
def test_what_the_policy_does_not_pin_is_refused(old: str, new: str, check: str) -> None:
    assert refusal(text=POLICY.replace(old, new))[0] == check


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"580.95.05"', '"570.200"'),
        ('drivers = ["any"]', 'drivers = ["1.2", "580.95.05"]'),
        ('vbios = ["any"]', 'vbios = ["96.00.9F.00.01"]'),
        ('device_ids = ["any"]', 'device_ids = ["41e23d711e1c4fbfac"]'),
    ],
)
def test_what_the_policy_pins_is_accepted(old: str, new: str) -> None:
    assert appraise(text=POLICY.replace(old, new)).status is Status.WARNING


def test_a_driver_whose_version_cannot_be_compared_is_refused() -> None:
    assert refusal(with_fields(f3=b"test-build\0"))[0] == "minimum driver"


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"f36": None}, "not-reported"),
        ({"f36": None, "f21": None}, "not-reported"),
        ({"f36": None, "f21": b"\xaa"}, "protected-pcie"),
        ({"f36": b"\2\0", "f21": b"\xaa"}, "protected-pcie"),
        ({"f36": b"\1\0"}, "multi-gpu"),
    ],
)
def test_a_mode_that_the_policy_does_not_name_is_refused(fields: dict[str, Any], mode: str) -> None:
    assert refusal(with_fields(**fields)) == ("mode", mode)


@pytest.mark.parametrize(("bit", "word"), [(1, "not secure"), (2, "recovery"), (3, "debug")])
def test_a_debug_mode_that_the_certificate_tells_is_refused(bit: int, word: str) -> None:
    flags = bytes([0x80 >> bit, 0, 0, 1])
    extension = fake.dice(TCB_INFO, fake.tcb_info(flags=flags))
    parts = of_chain(fake.device_chain("GB100", extension=extension), signer="GB100 A01 GSP FMC LF")
    assert refusal(parts, ANY) == ("device state", word)
    excepted = ANY.replace("exceptions = [", 'exceptions = ["gpu-debug-mode", ')
    assert appraise(parts, excepted).status is Status.WARNING


# How policies are written.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["hopper"]', "[]", "architectures is empty"),
        ('["hopper"]', '["ampere"]', "architectures names 'ampere'"),
        ('["single-gpu"]', '["cc"]', "modes names 'cc'"),
        ('"580.95.05"', '"latest"', "minimum_driver is 'latest'"),
        ('drivers = ["any"]', 'drivers = ["any", "1.2"]', "drivers has 'any' among"),
        ('vbios = ["any"]', 'vbios = ["96.00.9f.00.01"]', "vbios names"),
        ('device_ids = ["any"]', 'device_ids = ["0X41"]', "device_ids"),
        ('manifests = "none"', 'manifests = "no"', "reference_manifests is 'no'"),
        ('revocation = "none"', 'revocation = "any"', "revocation is 'any'"),
        ('exceptions = ["gpu-r', 'exceptions = ["r', "exceptions names"),
        ("exceptions", "more = 1\nexceptions", "unknown keys: more"),
        ('vbios = ["any"]', "", "vbios"),
    ],
)
def test_a_policy_that_is_not_written_right_is_an_error(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        appraise(text=POLICY.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=message):
        appraise_beside({}, GPU_POLICY.replace(old, new, 1))


def test_the_number_of_devices_is_required() -> None:
    with pytest.raises(ConfigurationError, match="devices"):
        appraise_beside({}, GPU_POLICY.replace("devices = 1\n", ""))
    with pytest.raises(ConfigurationError, match="devices"):
        appraise_beside({}, GPU_POLICY.replace("devices = 1", "devices = 0"))


def test_the_templates_can_be_read() -> None:
    table = parse(FORMAT.template.encode(), "template").take_table("attestation")
    read_format_policy(FORMAT, table.take_table(FORMAT.name))
    beside = parse(policy.gpu_template("sev-snp").encode(), "template").take_table("attestation")
    assert read_gpu_policy(beside.take_table("sev-snp").take_table("gpu")).devices == 1
