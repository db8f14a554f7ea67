"""NVIDIA: reports of real H100, GB100 and NVSwitch devices, and NVIDIA's real manifests.

The folder has no answers of NVIDIA's OCSP service and no complete pair of manifests for a GPU, so
GPUs are a `warning` here; the NVSwitch is compared with its real manifest. The files that end in
`detached_eat.json` and `claims` are tokens and outputs of NVIDIA's own verifiers, not evidence.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from fedenclave.attestation.format import Parts
from fedenclave.attestation.nvidia.format import CERTIFICATES, FORMAT, REPORT
from tests.attestation.cases import Case

_SDK = "nvidia/attestation-sdk/"
_SAMPLE = _SDK + "ut_sample_attestation_data_"
_GPU, _SWITCH = _SAMPLE + "gpu_", _SAMPLE + "switch_"
_RIMS = _SDK + "ut_sample_rims_"
_TRUSTEE = "nvidia/trustee/"
_H100 = (_GPU + "hopperAttestationReport.txt", _GPU + "hopperCertChain.txt")
_GB100 = (_GPU + "blackwellAttestationReport.txt", _GPU + "blackwellCertChain.txt")
_FORGED = (_GPU + "hopperAttestationReportInvalidSignature.txt", _GPU + "hopperCertChain.txt")
_LS10 = (_SDK + "ut_switchAttestationReport.txt", _SDK + "ut_switchCertChain.txt")
_HOLD = _SDK + "ctd_serialized_test_evidence_hopper_evidence_cert_hold.json"
_VERAISON = "nvidia/veraison/blackwell-evidence.json"
_COCO = (_TRUSTEE + "hopper_coco_report1.txt", _TRUSTEE + "hopper_coco_certs1.txt")
_SWITCH_RIM = "nvidia/rim/NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"
_DRIVER_RIM = "nvidia/rim/NV_GPU_DRIVER_GH100_535.86.09.xml"

_POLICY = """
architectures = ["hopper", "blackwell", "ls10"]
modes = ["single-gpu", "multi-gpu", "protected-pcie", "not-reported"]
minimum_driver = "535.86.09"
drivers = ["any"]
vbios = ["any"]
device_ids = ["any"]
reference_manifests = "none"
revocation = "none"
exceptions = ["gpu-reference-manifests-not-compared"]
"""
_NO_FWID = _POLICY.replace("exceptions = [", 'exceptions = ["gpu-firmware-id-not-reported", ')
_COMPARED = _NO_FWID.replace('manifests = "none"', 'manifests = "required"')

_NONCE = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"


def _texts(report: str, certificates: str) -> Callable[[Path], Parts]:
    """Read a report in hex, and certificates in PEM."""
    return lambda folder: {
        REPORT: bytes.fromhex((folder / report).read_text().strip()),
        CERTIFICATES: (folder / certificates).read_bytes(),
    }


def _entry(name: str, number: int = 0) -> Callable[[Path], Parts]:
    """Read one device of a file that NVIDIA's tools wrote."""

    def read(folder: Path) -> Parts:
        entry = json.loads((folder / name).read_bytes())[number]
        return {
            REPORT: base64.b64decode(entry["evidence"]),
            CERTIFICATES: base64.b64decode(entry["certificate"]),
        }

    return read


def _nonce(parts: Callable[[Path], Parts]) -> Callable[[Path], bytes]:
    """Return the nonce that a report carries; other cases ask for another."""
    return lambda folder: parts(folder)[REPORT][4:36]


def _case(
    name: str,
    rows: tuple[str, ...],
    parts: Callable[[Path], Parts],
    refused: str = "",
    *,
    policy: str = _POLICY,
    bound: str | None = None,
    at: str = "2026-02-01",
    found: str = "",
    manifests: Mapping[str, str] | None = None,
    warns: bool = True,
) -> Case:
    bundle = None
    if manifests is not None:
        files = dict(manifests)
        bundle = lambda folder: {k: (folder / v).read_bytes() for k, v in files.items()}  # noqa: E731
    return Case(
        name=name,
        rows=rows,
        format=FORMAT,
        parts=parts,
        policy=policy,
        bound=_nonce(parts) if bound is None else bound,
        at=at,
        refused=refused,
        found=found,
        collateral=bundle,
        exceptions_used=warns and not refused,
        mutate=() if refused else (REPORT, CERTIFICATES),
    )


def _switch(name: str, rim: str, refused: str = "", at: str = "2026-11-01") -> Case:
    """Compare the real NVSwitch with a manifest; `at` must be within its signer's validity."""
    return _case(
        name,
        (*_LS10, rim),
        _texts(*_LS10),
        refused,
        policy=_COMPARED,
        at=at,
        manifests={_SWITCH_RIM: rim},
        bound=_NONCE,
        warns=False,
    )


_DEVICES = [
    _case("a GB100 with driver 575", _GB100, _texts(*_GB100), bound=_NONCE),
    _case("a GB100 with driver 590 in multi-gpu mode", (_VERAISON,), _entry(_VERAISON)),
    _case("an H100 whose driver reports no firmware id", _H100, _texts(*_H100), policy=_NO_FWID),
    _case(
        "the same without that exception",
        _H100,
        _texts(*_H100),
        "firmware id",
        found="not reported",
    ),
    _case("an H100 whose signature is of another", _FORGED, _texts(*_FORGED), "report signature"),
    _case(
        "a report with a byte after its end", _COCO, _texts(*_COCO), "structure", found="1 bytes"
    ),
    _case("an H100 that is on hold: revoked by OCSP only", (_HOLD,), _entry(_HOLD), bound=_NONCE),
    _case(
        "the same, where an OCSP answer is required and there is none",
        (_HOLD,),
        _entry(_HOLD),
        "collateral",
        policy=_POLICY.replace('revocation = "none"', 'revocation = "ocsp"'),
    ),
    _case("an NVSwitch of 2022", _LS10, _texts(*_LS10), bound=_NONCE),
    _case(
        "an NVSwitch of another layout and with another's certificates",
        (_SWITCH + "switchAttestationReportInvalidSignature.txt",),
        _texts(
            _SWITCH + "switchAttestationReportInvalidSignature.txt",
            _SWITCH + "switchCertChain.txt",
        ),
        "structure",
    ),
]

_TRUSTEE_REPORT = _TRUSTEE + "hopperAttestationReport.txt"
_CHAINS = [
    _case(
        f"trustee's chain {number}: {what}",
        (_TRUSTEE_REPORT, f"{_TRUSTEE}hopper_cert_chain_case{number}.txt"),
        _texts(_TRUSTEE_REPORT, f"{_TRUSTEE}hopper_cert_chain_case{number}.txt"),
        refused,
    )
    for number, what, refused in (
        (1, "whole", ""),
        (2, "the root alone", "structure"),
        (3, "without the provisioner", "device chain"),
        (4, "without the leaf", "structure"),
    )
]

_MULTI = _SDK + "ctd_serialized_test_evidence_multi_gpu_hopper.json"
_MULTI_SWITCH = _SDK + "ctd_serialized_test_evidence_multi_switch_ls10.json"
_MORE = [
    *(_case(f"GPU {n} of four in protected PCIe", (_MULTI,), _entry(_MULTI, n)) for n in range(4)),
    _case("the first of several NVSwitches", (_MULTI_SWITCH,), _entry(_MULTI_SWITCH)),
    _case("another nonce", _GB100, _texts(*_GB100), "report data", bound="00" * 32),
    _case(
        "another GPU's certificates",
        (_H100[0], _GPU + "hopperCertChainExpired.txt"),
        _texts(_H100[0], _GPU + "hopperCertChainExpired.txt"),
        "report signature",
    ),
    _case(
        "before the chip was made",
        _GB100,
        _texts(*_GB100),
        "device chain validity",
        at="2022-01-01",
    ),
    _case(
        "a driver below the minimum",
        _H100,
        _texts(*_H100),
        "minimum driver",
        policy=_NO_FWID.replace('"535.86.09"', '"550.0"'),
    ),
    _case(
        "a GPU that is not in the list",
        _GB100,
        _texts(*_GB100),
        "device id",
        policy=_POLICY.replace('device_ids = ["any"]', 'device_ids = ["41e6de55c3bdc14278"]'),
    ),
    _case(
        "a mode that is not pinned",
        (_VERAISON,),
        _entry(_VERAISON),
        "mode",
        policy=_POLICY.replace('"multi-gpu", ', ""),
    ),
]

_MISMATCH = _RIMS + "NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml"
_VBIOS_MISMATCH = _RIMS + "NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml"
_MANIFESTS = [
    _switch(
        "an NVSwitch and its real manifest",
        _SDK + "ut_switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
    ),
    _switch(
        "the same before the manifest's signer was certified",
        _SDK + "ut_switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
        f"signer of {_SWITCH_RIM} validity",
        at="2026-01-01",
    ),
    _switch(
        "a manifest with another signature",
        _RIMS + "NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml",
        f"signature of {_SWITCH_RIM}",
        at="2026-01-01",
    ),
    _switch(
        "a manifest whose values were changed",
        _RIMS + "NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml",
        f"signature of {_SWITCH_RIM}",
        at="2025-06-01",
    ),
    _case(
        "manifests whose values were changed",
        (*_H100, _MISMATCH, _VBIOS_MISMATCH),
        _texts(*_H100),
        f"signature of {_DRIVER_RIM}",
        policy=_COMPARED,
        manifests={_DRIVER_RIM: _MISMATCH},
    ),
    _case(
        "a manifest of another driver",
        (*_H100, _SDK + "ut_NV_GPU_DRIVER_GH100_550.144.03.xml"),
        _texts(*_H100),
        "subject of NV_GPU_DRIVER_GH100_535.86.09",
        policy=_COMPARED,
        manifests={_DRIVER_RIM: _SDK + "ut_NV_GPU_DRIVER_GH100_550.144.03.xml"},
    ),
    _case(
        "a manifest with a false signature",
        (*_H100, _SDK + "ut_incorrect_signature_driver_rim.xml"),
        _texts(*_H100),
        f"signature of {_DRIVER_RIM}",
        policy=_COMPARED,
        manifests={_DRIVER_RIM: _SDK + "ut_incorrect_signature_driver_rim.xml"},
    ),
    _case(
        "a manifest signed below NVIDIA's debug root",
        (*_H100, _SDK + "ut_incorrect_cert_chain_driver_rim.xml"),
        _texts(*_H100),
        f"signer of {_DRIVER_RIM}",
        policy=_COMPARED,
        manifests={_DRIVER_RIM: _SDK + "ut_incorrect_cert_chain_driver_rim.xml"},
    ),
    _case(
        "a manifest whose signer has expired",
        (*_H100, _RIMS + "NV_GPU_DRIVER_GH100_570.124.03_expired.xml"),
        _texts(*_H100),
        f"signer of {_DRIVER_RIM} validity",
        policy=_COMPARED,
        manifests={_DRIVER_RIM: _RIMS + "NV_GPU_DRIVER_GH100_570.124.03_expired.xml"},
    ),
    _case(
        "no manifest in the bundle",
        _H100,
        _texts(*_H100),
        "collateral",
        policy=_COMPARED,
        manifests={},
    ),
]

CASES: list[Case] = [*_DEVICES, *_CHAINS, *_MORE, *_MANIFESTS]
