"""Compare a report's measurements with NVIDIA's reference manifests.

The driver's and the VBIOS's manifest together say what the device must measure to: each speaks
about its own indexes (`active`). An NVSwitch has only the second.

Source: NVIDIA attestation-sdk, local verifier: reference value i is block i + 1 of the report; an
index that both manifests claim is an error; index 35 is not compared while the decoder NVDEC0 is
off, since its firmware is not loaded then.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Question
from fedenclave.attestation.nvidia import opaque, spdm
from fedenclave.attestation.nvidia.device import BLACKWELL, Device
from fedenclave.attestation.nvidia.reference_values import Manifest
from fedenclave.attestation.nvidia.rim import need_manifest
from fedenclave.attestation.nvidia.spdm import Report
from fedenclave.attestation.result import Trust

NVDEC0_INDEX = 35
# NVSwitch reports name no board: there is one, and its numbers are in NVIDIA's own tools.
_SWITCH_BOARD = "5612_0002_890"


def driver_manifest(device: Device, report: Report) -> str:
    """Return the name of the driver's manifest, as NVIDIA's service calls it.

    Raises:
        MalformedMessage: the report has no driver version.
    """
    version = spdm.driver_version(report.fields)
    kind = "NV_GPU_CC_DRIVER" if device.architecture == BLACKWELL else "NV_GPU_DRIVER"
    return f"{kind}_{device.chip}_{version}"


def vbios_manifest(device: Device, report: Report) -> str:
    """Return the name of the VBIOS's manifest.

    Raises:
        MalformedMessage: the report lacks one of its parts.
    """
    version = spdm.vbios_version(report.fields, switch=device.switch).replace(".", "")
    if device.switch:
        return f"NV_SWITCH_BIOS_{_SWITCH_BOARD}_{version}"
    parts = (
        (opaque.PROJECT, "project"),
        (opaque.PROJECT_SKU, "project sku"),
        (opaque.CHIP_SKU, "chip sku"),
    )
    names = "_".join(opaque.text(report.fields, number, name) for number, name in parts)
    return f"NV_GPU_VBIOS_{names}_{version}"


def manifest_names(device: Device, report: Report) -> tuple[str, ...]:
    """Return the names of every manifest that the device needs."""
    vbios = vbios_manifest(device, report)
    return (vbios,) if device.switch else (driver_manifest(device, report), vbios)


def compare(
    checklist: Checklist,
    device: Device,
    report: Report,
    root: x509.Certificate,
    question: Question,
    label: str,
) -> tuple[Manifest, ...]:
    """Compare, and return the manifests.

    Raises:
        EvidenceRefused: a manifest is missing, does not verify, or cannot be used.
        MalformedMessage: the report does not say which manifests it needs.
    """
    versions = [spdm.vbios_version(report.fields, switch=device.switch)]
    if not device.switch:
        versions.insert(0, spdm.driver_version(report.fields))
    manifests = []
    for name, version in zip(manifest_names(device, report), versions, strict=True):
        manifest = need_manifest(checklist, name, root, question.collateral, question.now)
        _check_subject(checklist, manifest, device, version, label)
        manifests.append(manifest)
    _compare_digests(checklist, manifests, report, label)
    return tuple(manifests)


def _check_subject(
    checklist: Checklist, manifest: Manifest, device: Device, version: str, label: str
) -> None:
    about = manifest.product == device.chip and manifest.version.upper() == version.upper()
    checklist.must(
        f"{label}subject of {manifest.name}",
        holds=about,
        found=f"{manifest.product} {manifest.version}",
        wanted=f"{device.chip} {version}",
        trust=Trust.EXECUTABLES,
        hint="another manifest lies under this name; fetch it again",
    )


def _compare_digests(
    checklist: Checklist, manifests: Sequence[Manifest], report: Report, label: str
) -> None:
    golden: dict[int, tuple[bytes, ...]] = {}
    for manifest in manifests:
        both = golden.keys() & manifest.golden.keys()
        if both:
            checklist.refuse(
                f"{label}measurements",
                found=f"two reference manifests have a value for index {min(both)}",
                wanted="each index in one of " + " and ".join(m.name for m in manifests),
                trust=Trust.EXECUTABLES,
                hint="a newer version may understand them",
            )
        golden.update(manifest.golden)
    if opaque.switched(report.fields, opaque.NVDEC0, "nvdec0 status") is False:
        golden.pop(NVDEC0_INDEX, None)
    wrong = [
        str(index)
        for index, digests in sorted(golden.items())
        if report.measurements.get(index + 1) not in digests
    ]
    checklist.want(
        f"{label}measurements",
        holds=bool(golden) and not wrong,
        found=f"{len(golden) - len(wrong)} of {len(golden)} match"
        + (f"; not index {', '.join(wrong)}" if wrong else ""),
        wanted="every active value of " + " and ".join(m.name for m in manifests),
        trust=Trust.EXECUTABLES,
        hint="its firmware or driver is not what NVIDIA released, or it runs in a debug mode",
    )
