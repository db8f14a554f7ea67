"""What a policy pins of NVIDIA devices, and how it is written.

Rules:
  * Every key is required. Accepting all is written `["any"]`, leaving a check out `"none"`.
  * Leaving out the comparison with reference manifests is an exception too, since only they tell a
    debug mode: the policy must name it among its `exceptions`, and the result says `warning`.
    Saying it in one of the two places only is refused when evidence comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedenclave.attestation.nvidia.device import ARCHITECTURES
from fedenclave.attestation.nvidia.revocation import CRL, OCSP
from fedenclave.attestation.nvidia.spdm import MODES
from fedenclave.attestation.pins import take_hexes_or_any, take_some_texts, take_texts_or_any
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

NONE, REQUIRED = "none", "required"
NO_MANIFESTS = "gpu-reference-manifests-not-compared"
NO_FIRMWARE_ID = "gpu-firmware-id-not-reported"
DEBUG = "gpu-debug-mode"
EXCEPTIONS = frozenset({NO_MANIFESTS, NO_FIRMWARE_ID, DEBUG})
MAX_DEVICES = 64
_MAX_SERIAL = 20
_DRIVER = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,5}){1,3}")
_VBIOS = re.compile(r"[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}")

_PINS = """\
architectures = ["hopper"]          # hopper, blackwell; ls10 is the NVSwitch
modes = ["single-gpu"]              # single-gpu, multi-gpu (Blackwell, encrypted NVLink),
                                    # protected-pcie (Hopper: NVLink is in the clear, NVSwitches
                                    # must be attested too), not-reported (drivers before 580)
minimum_driver = "580.95.05"        # older ones are refused; `nvidia-smi`
drivers = ["any"]                   # or the only versions that are accepted
vbios = ["any"]                     # or ["96.00.9F.00.01"]; `nvidia-smi -q`, VBIOS Version
device_ids = ["any"]                # or serial numbers of the devices' own certificates, hex;
                                    # `fedenclave attest inspect` shows device-id
reference_manifests = "required"    # compare with NVIDIA's manifests in the bundle, nvidia/rim/; or
                                    # "none", with the exception
                                    # gpu-reference-manifests-not-compared: a debug mode goes
                                    # unnoticed then
revocation = "ocsp"                 # NVIDIA's answers in the bundle, nvidia/ocsp/, valid for a day;
                                    # "crl": its lists, nvidia/crl/, which know no single device; or
                                    # "none"
"""
TEMPLATE = f"""\
# nvidia-gpu: one GPU's report by itself. For `fedenclave attest verify` only: it does not say which
# machine the GPU is in. In a manifest, pin GPUs beside a CPU's format:
# [attestation.<cpu format>.gpu], with the same keys and `devices`.
[attestation.nvidia-gpu]
{_PINS}exceptions = []
"""


def gpu_template(cpu_format: str) -> str:
    """Return the table to be filled in where a CPU's evidence must carry GPUs."""
    return f"""\
# NVIDIA GPUs of the same machine, attested together with the CPU.
[attestation.{cpu_format}.gpu]
devices = 1                         # how many reports there must be, NVSwitches included
{_PINS}exceptions = []
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePins:
    """What is pinned of one device; None accepts any.

    Attributes:
        architectures: names.
        modes: names.
        minimum_driver: the version's numbers.
        drivers: exact versions.
        vbios: exact versions, upper case.
        device_ids: serial numbers, hex.
        reference_manifests: whether measurements are compared.
        revocation: `ocsp`, `crl` or `none`.
    """

    architectures: tuple[str, ...]
    modes: tuple[str, ...]
    minimum_driver: tuple[int, ...]
    drivers: tuple[str, ...] | None
    vbios: tuple[str, ...] | None
    device_ids: tuple[str, ...] | None
    reference_manifests: bool
    revocation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPolicy:
    """The table `[attestation.<cpu format>.gpu]`.

    `exceptions` must be added to those of the CPU's format when the checklist is made.
    """

    pins: DevicePins
    devices: int
    exceptions: frozenset[str]


def read_gpu_policy(table: Table) -> GpuPolicy:
    """Return the policy in a `gpu` table; all of it is read.

    Raises:
        ConfigurationError: a key is missing, unknown or wrong.
    """
    exceptions = frozenset(table.take_texts("exceptions"))
    unknown = exceptions - EXCEPTIONS
    if unknown:
        raise ConfigurationError(
            f"{table.where} exceptions names {', '.join(sorted(unknown))[:200]}",
            hint="gpu knows: " + ", ".join(sorted(EXCEPTIONS)),
        )
    devices = table.take_int("devices", low=1, high=MAX_DEVICES)
    pins = read_device_pins(table)
    table.finish()
    return GpuPolicy(pins=pins, devices=devices, exceptions=exceptions)


def read_device_pins(table: Table) -> DevicePins:
    """Return what is pinned of each device; other keys of the table are left in it.

    Raises:
        ConfigurationError: a key is missing or wrong.
    """
    device_ids = take_hexes_or_any(table, "device_ids", sizes=tuple(range(1, _MAX_SERIAL + 1)))
    minimum = table.take_text("minimum_driver")
    number = driver_number(minimum)
    if number is None:
        raise ConfigurationError(
            f"{table.where} minimum_driver is {minimum[:80]!r}, want a version such as 580.95.05"
        )
    return DevicePins(
        architectures=_take_choices(table, "architectures", ARCHITECTURES),
        modes=_take_choices(table, "modes", MODES),
        minimum_driver=number,
        drivers=_take_versions(table, "drivers", _DRIVER, "580.95.05"),
        vbios=_take_versions(table, "vbios", _VBIOS, "96.00.9F.00.01"),
        device_ids=None if device_ids is None else tuple(value.hex() for value in device_ids),
        reference_manifests=table.take_choice("reference_manifests", (REQUIRED, NONE)) == REQUIRED,
        revocation=table.take_choice("revocation", (OCSP, CRL, NONE)),
    )


def driver_number(version: str) -> tuple[int, ...] | None:
    """Return a driver version's numbers, which compare as versions do; None if it has others."""
    if not _DRIVER.fullmatch(version):
        return None
    return tuple(int(part) for part in version.split("."))


def _take_choices(table: Table, key: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    names = take_some_texts(table, key)
    unknown = [name for name in names if name not in choices]
    if unknown:
        raise ConfigurationError(
            f"{table.where} {key} names {unknown[0][:80]!r}, want some of {', '.join(choices)}"
        )
    return names


def _take_versions(
    table: Table, key: str, pattern: re.Pattern[str], example: str
) -> tuple[str, ...] | None:
    versions = take_texts_or_any(table, key)
    if versions is None:
        return None
    wrong = [version for version in versions if not pattern.fullmatch(version)]
    if wrong:
        raise ConfigurationError(
            f"{table.where} {key} names {wrong[0][:80]!r}, want versions such as {example}",
            hint='or ["any"]',
        )
    return versions
