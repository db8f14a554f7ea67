"""GPUs in addition to a CPU's evidence.

How the two belong together: every GPU's nonce is `gpu_nonce` of the 64 bytes of report data that
the CPU's evidence binds, so a report is for this enclave's key, this manifest and this client's
nonce. What that does not show is that the GPU is in that machine: the operator can ask a GPU
elsewhere with the same nonce. The enclave's own software must have opened the GPU (SPDM session)
for that, and it is measured by the CPU.

Parts: `gpu-report` and `gpu-certificates` for one device; `gpu-report-0`, `gpu-certificates-0`,
`gpu-report-1`, ... for several, numbered without gaps; NVSwitches are numbered among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Parts, Question
from fedenclave.attestation.nvidia import appraisal, topology
from fedenclave.attestation.nvidia.appraisal import (
    Appraised,
    Roots,
    appraise_device,
    certificates_of,
)
from fedenclave.attestation.nvidia.claims import device_claims, matched_claims, measurement
from fedenclave.attestation.nvidia.policy import GpuPolicy
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.evidence import REPORT_DATA_SIZE

PREFIX = "gpu-"
REPORT, CERTIFICATES = "gpu-report", "gpu-certificates"
DOMAIN = b"fedenclave/gpu/v1\x00"
IDENTIFIERS = frozenset({"certificate", "gpu-measurement", "gpu-device-id", "gpu-fwid"})
ALWAYS = frozenset({"gpu report data", "gpu parts", "gpu devices", topology.NAME})
"""Names of the checks that are made of all devices together; `appraise_gpu` itself sees to it that
those of every single one are made."""


def pinned_roots() -> Roots:
    """Return NVIDIA's certificates that are pinned in this tree."""
    [device], [manifests] = pinned("nvidia-device-identity"), pinned("nvidia-reference-manifests")
    return Roots(device=device, manifests=manifests)


def gpu_nonce(report_data: bytes) -> bytes:
    """Return the 32-byte SPDM nonce of GPUs beside a CPU that binds `report_data`."""
    return hashlib.sha256(DOMAIN + report_data).digest()


def split_gpu_parts(parts: Parts) -> tuple[Parts, Parts]:
    """Return the CPU's parts, and those whose names begin with `gpu-`."""
    gpu = {name: data for name, data in parts.items() if name.startswith(PREFIX)}
    return {name: data for name, data in parts.items() if name not in gpu}, gpu


def appraise_gpu(
    parts: Parts,
    policy: GpuPolicy,
    question: Question,
    checklist: Checklist,
    roots: Roots | None = None,
) -> Claims:
    """Verify and appraise every GPU and NVSwitch in `parts`.

    Args:
        parts: the second value of `split_gpu_parts`.
        policy: of the table `gpu`; its `exceptions` must be among the checklist's.
        question: the CPU's; its `bound` is not looked at, but its `report_data` is: what the CPU's
            evidence is to bind, 64 bytes, before `Format.bind`.
        checklist: where the checks go; the caller's `finish` must be given `ALWAYS` too.
        roots: the pinned ones if None; others in tests.

    Raises:
        EvidenceRefused: a check without which the rest means nothing does not hold.
        MalformedMessage: a part is not what it must be.
        RuntimeError: a defect of this package: a device was not asked all that it must be.
    """
    roots, report_data = roots or pinned_roots(), question.report_data
    checklist.must(
        "gpu report data",
        holds=len(report_data) == REPORT_DATA_SIZE,
        found=f"{len(report_data)} bytes",
        wanted=f"{REPORT_DATA_SIZE} bytes, which the CPU's evidence binds",
        trust=Trust.INSTANCE_IDENTITY,
        hint="without them every GPU has the same nonce, and an old report would do",
    )
    pairs = _pairs(checklist, parts, policy.devices)
    asked = replace(question, bound=gpu_nonce(report_data))
    devices = [
        appraise_device(
            checklist, report, certificates, policy.pins, asked, roots, label=_label(number)
        )
        for number, (report, certificates) in enumerate(pairs)
    ]
    # The framework does not count devices.
    checklist.check_made(
        [_label(n) + name for n in range(len(devices)) for name in appraisal.ALWAYS]
    )
    ids = {found.device.device_id for found in devices}
    checklist.must(
        "gpu devices",
        holds=len(ids) == len(devices),
        found=f"{len(ids)} different devices",
        wanted=f"{policy.devices} different devices",
        trust=Trust.INSTANCE_IDENTITY,
        hint="one device answered for another",
    )
    topology.check_topology(checklist, devices)
    return _claims(devices, roots)


def _label(number: int) -> str:
    return f"gpu {number} "


def _pairs(checklist: Checklist, parts: Parts, devices: int) -> list[tuple[bytes, bytes]]:
    """Return report and certificates of each device, in order."""
    names = [(REPORT, CERTIFICATES)]
    if devices > 1 or f"{REPORT}-0" in parts:
        names = [(f"{REPORT}-{n}", f"{CERTIFICATES}-{n}") for n in range(devices)]
    wanted = {name for pair in names for name in pair}
    checklist.must(
        "gpu parts",
        holds=parts.keys() == wanted,
        found=", ".join(sorted(parts)) or "none",
        wanted=", ".join(sorted(wanted)),
        trust=Trust.INSTANCE_IDENTITY,
        hint="the policy's key devices says how many GPUs and NVSwitches must be attested",
    )
    return [(parts[report], parts[certificates]) for report, certificates in names]


def _claims(devices: Sequence[Appraised], roots: Roots) -> Claims:
    tables: list[Mapping[str, object]] = [
        device_claims(found.device, found.report) | matched_claims(bool(found.manifests))
        for found in devices
    ]
    certificates = (name for found in devices for name in certificates_of(found, roots))
    return Claims(
        claims={"gpus": tables},
        identifiers={
            "certificate": tuple(dict.fromkeys(certificates)),
            "gpu-measurement": tuple(measurement(found.report) for found in devices),
            "gpu-device-id": tuple(found.device.device_id for found in devices),
            "gpu-fwid": tuple(found.device.firmware.fwid.hex() for found in devices),
        },
    )
