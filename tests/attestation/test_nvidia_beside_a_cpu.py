"""GPUs beside a CPU: whose evidence they belong to, how many there are, and their NVSwitches."""

from dataclasses import replace
from typing import Any

import pytest

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.nvidia import gpu, opaque, rim
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT
from fedenclave.attestation.nvidia.policy import read_gpu_policy
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import GPU_OPAQUE, NOW, REPORT_DATA
from tests.attestation.gpu_appraisal import (
    ANY,
    GPU_POLICY,
    appraise_beside,
    numbered,
    of_chain,
    question,
    refused_beside,
)


def test_a_gpu_beside_a_cpu_is_appraised() -> None:
    parts = {"gpu-report": fake.report(), "gpu-certificates": fake.pem(fake.device_chain())}
    cpu, mine = gpu.split_gpu_parts({"quote": b"q", **parts})
    assert (set(cpu), set(mine)) == ({"quote"}, set(parts))
    claims = appraise_beside(mine)
    assert claims.identifiers["gpu-device-id"] == ("41e23d711e1c4fbfac",)
    assert claims.identifiers.keys() == gpu.IDENTIFIERS
    assert appraise_beside(numbered(fake.parts())) == claims


def test_a_gpu_for_another_cpus_evidence_is_refused() -> None:
    parts = {"gpu-report": fake.report(), "gpu-certificates": fake.pem(fake.device_chain())}
    assert refused_beside(parts, report_data=bytes(64))[0] == "gpu 0 report data"


@pytest.mark.parametrize("report_data", [b"", bytes(32), bytes(63), bytes(65)])
def test_without_the_cpus_report_data_no_gpu_is_accepted(report_data: bytes) -> None:
    """The nonce of no report data is the same for everybody: a report for it can lie ready."""
    made_for_it = fake.report(nonce=gpu.gpu_nonce(report_data))
    parts = {"gpu-report": made_for_it, "gpu-certificates": fake.pem(fake.device_chain())}
    found = refused_beside(parts, report_data=report_data)
    assert found == ("gpu report data", f"{len(report_data)} bytes")


def test_a_device_that_was_not_asked_everything_is_a_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left out for one of several devices must not hide behind the others' checks."""
    whole = gpu.appraise_device

    def careless(checklist: Checklist, *args: Any, label: str) -> Any:
        return whole(Checklist() if label == "gpu 1 " else checklist, *args, label=label)

    two = ANY.replace("exceptions = [", "devices = 2\nexceptions = [")
    text = "[gpu]\n" + two.replace('manifests = "none"', 'manifests = "required"')
    parts = numbered(fake.parts(), of_chain(fake.device_chain(serial=1000)))
    chosen = read_gpu_policy(parse(text.encode(), "policy").take_table("gpu"))
    asked = replace(question(fake.manifests()), report_data=REPORT_DATA)
    assert gpu.appraise_gpu(parts, chosen, asked, Checklist(chosen.exceptions), fake.ROOTS)
    monkeypatch.setattr(gpu, "appraise_device", careless)
    again = Checklist(chosen.exceptions)
    with pytest.raises(RuntimeError, match="gpu 1 report signature"):
        gpu.appraise_gpu(parts, chosen, asked, again, fake.ROOTS)


def test_the_manifests_of_several_gpus_are_verified_once() -> None:
    text = "[gpu]\ndevices = 2\n" + ANY.replace('manifests = "none"', 'manifests = "required"')
    chosen = read_gpu_policy(parse(text.encode(), "policy").take_table("gpu"))
    parts = numbered(fake.parts(), of_chain(fake.device_chain(serial=1000)))
    asked = replace(question(fake.manifests(), now=NOW + 1), report_data=REPORT_DATA)
    before = rim._signed_manifest.cache_info()
    checklist = Checklist(chosen.exceptions)
    gpu.appraise_gpu(parts, chosen, asked, checklist, fake.ROOTS)
    after = rim._signed_manifest.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (2, 2)
    # The check itself is made for each.
    names = [check.name for check in checklist.checks]
    assert names.count(f"signature of {fake.DRIVER_RIM}") == 2


def test_the_number_of_gpus_is_pinned() -> None:
    two = GPU_POLICY.replace("devices = 1", "devices = 2")
    for parts in ({}, {"gpu-report": b""}, numbered(fake.parts()), {"gpu-other": b""}):
        assert refused_beside(parts, two)[0] == "gpu parts"
    assert refused_beside({})[0] == "gpu parts"
    assert refused_beside(numbered(fake.parts(), fake.parts()))[0] == "gpu parts"


def test_one_gpu_does_not_count_twice() -> None:
    two = GPU_POLICY.replace("devices = 1", "devices = 2")
    assert refused_beside(numbered(fake.parts(), fake.parts()), two)[0] == "gpu devices"


SWITCH_PDI = bytes.fromhex("203eb31ad9ed0008")
GPU_PDIS = [bytes([n]) * 8 for n in (1, 2)]
LINKED = (
    GPU_POLICY.replace("devices = 1", "devices = 3")
    .replace('["hopper"]', '["hopper", "ls10"]')
    .replace('["single-gpu"]', '["protected-pcie", "single-gpu"]')
)


def linked_gpu(serial: int, pdis: bytes = SWITCH_PDI[::-1] * 17 + bytes(8)) -> dict[str, bytes]:
    fields = {
        **GPU_OPAQUE,
        opaque.PROTECTED_PCIE: b"\xaa",
        opaque.FEATURE_FLAG: b"\2\0",
        opaque.SWITCH_PDI: pdis,
    }
    return of_chain(fake.device_chain(serial=serial), fields=fields)


def linked_switch(gpus: int = 2, pdi: bytes = SWITCH_PDI) -> dict[str, bytes]:
    listed = b"".join(GPU_PDIS[:gpus]).ljust(64, b"\0") + b"\xff" * 64
    fields = {**fake.SWITCH_OPAQUE, opaque.DEVICE_PDI: pdi, opaque.SWITCH_GPU_PDIS: listed}
    chain = fake.device_chain("LS_10", serial=99)
    return {REPORT: fake.switch_report(fields=fields), CERTIFICATES: fake.pem(chain)}


def test_protected_pcie_with_its_switches_is_accepted() -> None:
    claims = appraise_beside(numbered(linked_gpu(1000), linked_gpu(2000), linked_switch()), LINKED)
    assert len(claims.identifiers["gpu-device-id"]) == 3


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ((linked_gpu(1000), linked_gpu(2000), linked_gpu(3000)), "name other NVSwitches"),
        ((linked_gpu(1000), linked_gpu(2000), linked_switch(1)), "see other GPUs"),
        ((linked_gpu(1000), linked_gpu(2000), linked_switch(pdi=bytes(8))), "without an id"),
        (
            (linked_gpu(1000), linked_gpu(2000, pdis=b"12345678"), linked_switch()),
            "name other NVSwitches",
        ),
        ((linked_gpu(1000), of_chain(fake.device_chain(serial=5)), linked_switch(1)), "1 of 2"),
        (
            (
                of_chain(fake.device_chain(serial=5)),
                of_chain(fake.device_chain(serial=6)),
                linked_switch(),
            ),
            "NVSwitches without GPUs",
        ),
    ],
)
def test_protected_pcie_without_all_its_switches_is_refused(
    devices: tuple[dict[str, bytes], ...], found: str
) -> None:
    name, actual = refused_beside(numbered(*devices), LINKED)
    assert name == "gpu topology"
    assert found in actual


def test_a_list_of_links_that_is_no_list_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="no list of device ids"):
        appraise_beside(
            numbered(linked_gpu(1000, pdis=b"1234"), linked_gpu(2000), linked_switch()), LINKED
        )
