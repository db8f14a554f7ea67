"""Verify and appraise one NVIDIA device: the list of checks.

1. structure of the report and of the certificates
2. the chain to NVIDIA's Device Identity CA, at the time of the question
3. the report's signature by the leaf's key
4. the firmware id that the report names is the one that the leaf certifies
5. revocation of the device's certificates, if the policy says by what
6. NVIDIA's reference manifests, the measurements against them, and then revocation of the
   manifests' signers; a failure to match is noted, and a revoked signer refuses at once
7. the nonce
8. the policy: architecture, mode, driver, VBIOS, device id, state of the firmware
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from fedenclave.attestation.certificates import fingerprints
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Question
from fedenclave.attestation.nvidia import golden, opaque, policy, revocation, spdm
from fedenclave.attestation.nvidia.device import (
    Device,
    parse_device,
    verify_device,
    verify_signature,
)
from fedenclave.attestation.nvidia.policy import DevicePins
from fedenclave.attestation.nvidia.reference_values import Manifest
from fedenclave.attestation.nvidia.spdm import Report, parse_report
from fedenclave.attestation.result import Trust
from fedenclave.protocol.digests import equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """NVIDIA's pinned certificates: of devices, and of the signers of reference manifests."""

    device: x509.Certificate
    manifests: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """A device whose report was verified; the checklist says whether the policy is satisfied."""

    device: Device
    report: Report
    manifests: tuple[Manifest, ...]


# What is checked of every device, whatever the policy says.
ALWAYS = (
    "device chain",
    "device chain validity",
    "device key",
    "report signature",
    "firmware id",
    "revocation",
    "measurements",
    "report data",
    "architecture",
    "mode",
    "minimum driver",
    "driver",
    "vbios",
    "device id",
    "device state",
)


def appraise_device(
    checklist: Checklist,
    report_part: bytes,
    certificates_part: bytes,
    pins: DevicePins,
    question: Question,
    roots: Roots,
    label: str = "",
) -> Appraised:
    """Verify and appraise one device; `question.bound` is the nonce.

    `label` is put before the names of the checks, to tell several devices apart.

    Raises:
        EvidenceRefused: a check without which the rest means nothing does not hold.
        MalformedMessage: a part is not what it must be.
    """
    device = parse_device(certificates_part, roots.device)
    report = parse_report(report_part, switch=device.switch)
    verify_device(checklist, device, roots.device, now=question.now, label=label)
    verify_signature(checklist, report, device, label=label)
    _check_firmware_id(checklist, device, report, label)
    _check_revocation(checklist, device.chain[1:], pins, question, roots.device, label)
    manifests = _check_measurements(checklist, device, report, pins, question, roots, label)
    checklist.want(
        f"{label}report data",
        holds=equal(report.nonce, question.bound),
        found=report.nonce,
        wanted=question.bound,
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce: old, or made for somebody else",
    )
    _check_policy(checklist, device, report, pins, label)
    return Appraised(device=device, report=report, manifests=manifests)


def _check_firmware_id(checklist: Checklist, device: Device, report: Report, label: str) -> None:
    """Compare; NVSwitches do not report it, and GPUs with drivers before 550 neither."""
    field = report.fields.get(opaque.FIRMWARE_ID)
    name, certified = f"{label}firmware id", device.firmware.fwid
    if device.switch or field is None:
        checklist.want(
            name,
            holds=device.switch,
            found="not reported",
            wanted="not reported, as by every NVSwitch" if device.switch else certified,
            trust=Trust.INSTANCE_IDENTITY,
            hint="a newer driver reports it; what the certificate says is in the claims either way",
            exception=policy.NO_FIRMWARE_ID,
        )
        return
    checklist.must(
        name,
        holds=equal(field.value, certified),
        found=field.value,
        wanted=certified,
        trust=Trust.INSTANCE_IDENTITY,
        hint="the certificate is of another firmware than the report",
    )


def _check_revocation(
    checklist: Checklist,
    chain: tuple[x509.Certificate, ...],
    pins: DevicePins,
    question: Question,
    root: x509.Certificate,
    label: str,
) -> None:
    unchecked = pins.revocation == policy.NONE
    if not unchecked:
        revocation.check_chain(checklist, chain, root, pins.revocation, question)
    checklist.want(
        f"{label}revocation",
        holds=True,
        found="not checked" if unchecked else f"checked by {pins.revocation}",
        wanted="not checked, as the policy says" if unchecked else f"by {pins.revocation}",
        trust=Trust.INSTANCE_IDENTITY,
    )


def _check_measurements(
    checklist: Checklist,
    device: Device,
    report: Report,
    pins: DevicePins,
    question: Question,
    roots: Roots,
    label: str,
) -> tuple[Manifest, ...]:
    if not pins.reference_manifests:
        checklist.want(
            f"{label}measurements",
            holds=False,
            found="not compared, as the policy says",
            wanted="what NVIDIA's reference manifests say",
            trust=Trust.EXECUTABLES,
            hint='fill the bundle and say reference_manifests = "required", or name '
            f"{policy.NO_MANIFESTS} among the exceptions",
            exception=policy.NO_MANIFESTS,
        )
        return ()
    manifests = golden.compare(checklist, device, report, roots.manifests, question, label)
    for manifest in manifests:
        if pins.revocation != policy.NONE:
            revocation.check_chain(
                checklist, manifest.chain, roots.manifests, pins.revocation, question
            )
    return manifests


def _check_policy(
    checklist: Checklist, device: Device, report: Report, pins: DevicePins, label: str
) -> None:
    def want(name: str, found: str, accepted: tuple[str, ...] | None, trust: Trust) -> None:
        checklist.want(
            f"{label}{name}",
            holds=accepted is None or found in accepted,
            found=found,
            wanted="any" if accepted is None else " or ".join(accepted),
            trust=trust,
        )

    want("architecture", device.architecture, pins.architectures, Trust.HARDWARE)
    _check_driver(checklist, device, report, pins, label)
    vbios = spdm.vbios_version(report.fields, switch=device.switch)
    want("vbios", vbios, pins.vbios, Trust.HARDWARE)
    want("device id", device.device_id, pins.device_ids, Trust.INSTANCE_IDENTITY)
    flags = device.firmware.flags
    checklist.want(
        f"{label}device state",
        holds=not flags,
        found=", ".join(flags or ()) or "no debug mode is certified",
        wanted="no debug or recovery mode",
        trust=Trust.CONFIGURATION,
        exception=policy.DEBUG,
    )


def _check_driver(
    checklist: Checklist, device: Device, report: Report, pins: DevicePins, label: str
) -> None:
    """Judge what only GPUs report: mode and driver. An NVSwitch has neither."""
    switch = device.switch
    none = "none: it is an NVSwitch"
    mode = none if switch else spdm.mode(report.fields)
    driver = none if switch else spdm.driver_version(report.fields)
    number = policy.driver_number(driver)
    checklist.want(
        f"{label}mode",
        holds=switch or mode in pins.modes,
        found=mode,
        wanted=" or ".join(pins.modes),
        trust=Trust.CONFIGURATION,
        hint="how GPUs are passed through to the machine decides it; see the policy's key modes",
    )
    checklist.want(
        f"{label}minimum driver",
        holds=switch or (number is not None and number >= pins.minimum_driver),
        found=driver,
        wanted="at least " + ".".join(map(str, pins.minimum_driver)),
        trust=Trust.HARDWARE,
        hint="update the driver",
    )
    checklist.want(
        f"{label}driver",
        holds=switch or pins.drivers is None or driver in pins.drivers,
        found=driver,
        wanted="any" if pins.drivers is None else " or ".join(pins.drivers),
        trust=Trust.HARDWARE,
    )


def certificates_of(appraised: Appraised, roots: Roots) -> tuple[str, ...]:
    """Return the fingerprints of every certificate that was used."""
    used = [*appraised.device.chain, roots.device]
    for manifest in appraised.manifests:
        used += [*manifest.chain, roots.manifests]
    return fingerprints(*used)
