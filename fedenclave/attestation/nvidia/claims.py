"""What a device's report says, by name."""

from __future__ import annotations

import hashlib

from fedenclave.attestation.nvidia import opaque, spdm
from fedenclave.attestation.nvidia.device import Device
from fedenclave.attestation.nvidia.spdm import Report

_NVIDIA_OEM_ID = "5703"
_WORDS = {True: "enabled", False: "disabled", None: "not reported"}


def device_claims(device: Device, report: Report) -> dict[str, object]:
    """Return the claims that need no comparison.

    Raises:
        MalformedMessage: the report lacks what every report has.
    """
    switch = device.switch
    claims: dict[str, object] = {
        "hwmodel": device.model,
        "oemid": _NVIDIA_OEM_ID,
        "ueid": device.ueid,
        "device-id": device.device_id,
        "architecture": device.architecture,
        "vbios-version": spdm.vbios_version(report.fields, switch=switch),
        "fwid": device.firmware.fwid.hex(),
        "nonce": report.nonce.hex(),
        "measurement": measurement(report),
        "measurements": {
            str(index): digest.hex() for index, digest in report.measurements.items() if any(digest)
        },
    }
    if device.firmware.flags is not None:
        claims["certified-state"] = list(device.firmware.flags)
    if not switch:
        claims |= _gpu_claims(report)
    known = opaque.SWITCH_FIELDS if switch else opaque.GPU_FIELDS
    claims["opaque-data"] = {
        known[number][0] if number in known else f"security-version-{number}": field.value.hex()
        for number, field in report.fields.items()
        if number != opaque.COUNTS
    }
    return claims


def _gpu_claims(report: Report) -> dict[str, object]:
    nvdec = opaque.switched(report.fields, opaque.NVDEC0, "nvdec0 status")
    return {
        "driver-version": spdm.driver_version(report.fields),
        "mode": spdm.mode(report.fields),
        "nvdec0": _WORDS[nvdec],
    }


def measurement(report: Report) -> str:
    """Return SHA-384 of the whole measurement record, hex: one name for all of it."""
    return hashlib.sha384(report.record).hexdigest()


def matched_claims(compared: bool) -> dict[str, object]:
    """Return what follows from a comparison with the manifests, as NVIDIA's verifier names it.

    A report does not say in so many words whether a debug mode is on: it measures differently.
    """
    return {"secboot": True, "dbgstat": "disabled", "measres": "success"} if compared else {}
