"""The format `nvidia-gpu`: one device's report by itself, for people and for tests.

It cannot be pinned in a manifest: a GPU's report says nothing about the machine or the enclave.
`gpu.py` is what a manifest uses.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question
from fedenclave.attestation.nvidia import appraisal, policy, spdm
from fedenclave.attestation.nvidia.appraisal import Roots, appraise_device, certificates_of
from fedenclave.attestation.nvidia.claims import device_claims, matched_claims, measurement
from fedenclave.attestation.nvidia.device import parse_device
from fedenclave.attestation.nvidia.golden import manifest_names
from fedenclave.attestation.nvidia.gpu import gpu_nonce, pinned_roots
from fedenclave.attestation.nvidia.policy import DevicePins, read_device_pins
from fedenclave.attestation.nvidia.spdm import parse_report
from fedenclave.attestation.result import Claims

NAME = "nvidia-gpu"
REPORT, CERTIFICATES = "report", "certificates"
_MAX_JSON = 1 << 20


def make_format(roots: Roots) -> Format[DevicePins]:
    """Return the format for devices whose chains end in `roots`."""

    def appraise(
        parts: Parts, pins: DevicePins, question: Question, checklist: Checklist
    ) -> Claims:
        found = appraise_device(
            checklist, parts[REPORT], parts[CERTIFICATES], pins, question, roots
        )
        compared = matched_claims(bool(found.manifests))
        return Claims(
            claims=device_claims(found.device, found.report) | compared,
            identifiers={
                "certificate": certificates_of(found, roots),
                "measurement": (measurement(found.report),),
                "device-id": (found.device.device_id,),
                "fwid": (found.device.firmware.fwid.hex(),),
            },
        )

    def inspect(parts: Parts) -> Mapping[str, object]:
        device = parse_device(parts[CERTIFICATES], roots.device)
        report = parse_report(parts[REPORT], switch=device.switch)
        names = {"reference-manifests": list(manifest_names(device, report))}
        return device_claims(device, report) | names

    return Format(
        name=NAME,
        title="NVIDIA GPU or NVSwitch, by itself",
        source="DSP0274 1.1.2; NVIDIA Opaque Data Format (2026-10)",
        required=frozenset({REPORT, CERTIFICATES}),
        exceptions=policy.EXCEPTIONS,
        identifiers=frozenset({"certificate", "measurement", "device-id", "fwid"}),
        always=frozenset(appraisal.ALWAYS),
        template=policy.TEMPLATE,
        read_policy=read_device_pins,
        bind=gpu_nonce,
        appraise=appraise,
        inspect=inspect,
        recognise=recognise,
    )


def recognise(data: bytes) -> Parts | None:
    """Return the parts in what `nvattest collect-evidence` writes for one device.

    It is JSON: a list with one object, or the object, whose `evidence` and `certificate` are
    base64.
    """
    if len(data) > _MAX_JSON or data.lstrip()[:1] not in (b"[", b"{"):
        return None
    try:
        document = json.loads(data)
        if isinstance(document, list) and len(document) == 1:
            document = document[0]
        if not isinstance(document, dict):
            return None
        report = base64.b64decode(document["evidence"], validate=True)
        certificates = base64.b64decode(document["certificate"], validate=True)
    # Nested too deeply; or no such object, no text, no base64.
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not report.startswith(spdm.PREFIX):
        return None
    return {REPORT: report, CERTIFICATES: certificates}


FORMAT = make_format(pinned_roots())
