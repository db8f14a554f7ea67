"""The opaque data of an NVIDIA report: a list of typed fields about the device.

Not a measurement: the device's firmware and driver fill these in, and the device's key signs them
together with the measurements.

Rules:
  * A field that is unknown, twice there, or of a wrong size is malformed. One kind is excepted: a
    security version says itself that it is one (value type 0x87), so its number need not be known.
  * Three values of an on/off field are not two: anything but 0xAA and 0x55 is malformed.

Sources: NVIDIA Opaque Data Format (docs.nvidia.com/attestation/specs, 2026-10): `Blob layout`, both
the layout without a header (versions 0 and 1) and the one with it (version 2); the numbers of the
fields from NVIDIA's attestation-sdk, `gpu_opaque_data_parser.hpp`; those of an NVSwitch from its
sample of a parsed report. The value types are those of DSP0274 1.1.2, table 54, with bit 7 set for
values that are no digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

MAGIC = b"NVDAOD"
HEADER_MAJOR = 2
LEGACY_VERSIONS = (0, 1)
ENABLED, DISABLED = 0xAA, 0x55
SECURITY_VERSION = 0x87
_VALUE_TYPES = frozenset({0x01, 0x82, 0x83, 0x84, 0x85, 0x86, SECURITY_VERSION})
PDI_SIZE = 8
DIGEST_SIZE = 48

DRIVER, VBIOS, NVDEC0, COUNTS = 3, 6, 11, 12
CHIP_SKU, PROJECT, PROJECT_SKU = 15, 17, 18
FIRMWARE_ID, PROTECTED_PCIE, SWITCH_PDI = 20, 21, 22
OPAQUE_VERSION, CHIP_INFO, FEATURE_FLAG = 34, 35, 36

# Name and exact size of every field of a GPU; size 0: any.
GPU_FIELDS: Mapping[int, tuple[str, int]] = {
    1: ("certificate-issuer-name", 0),
    2: ("certificate-authority-key-identifier", 0),
    DRIVER: ("driver-version", 0),
    4: ("gpu-info", 8),
    5: ("sku", 0),
    VBIOS: ("vbios-version", 8),
    7: ("manufacturer-id", 0),
    8: ("tamper-detection", 0),
    9: ("smc", 0),
    10: ("vpr", 0),
    NVDEC0: ("nvdec0-status", 1),
    COUNTS: ("measurement-counts", 0),
    13: ("cpr-info", 4),
    14: ("board-id", 4),
    CHIP_SKU: ("chip-sku", 0),
    16: ("chip-sku-mod", 0),
    PROJECT: ("project", 0),
    PROJECT_SKU: ("project-sku", 0),
    19: ("project-sku-mod", 0),
    FIRMWARE_ID: ("fwid", DIGEST_SIZE),
    PROTECTED_PCIE: ("protected-pcie-status", 1),
    SWITCH_PDI: ("switch-pdis", 0),
    23: ("floorswept-ports", 0),
    24: ("position-id", 2),
    25: ("lock-switch-status", 2),
    32: ("gpu-link-connections", 0),
    33: ("system-enable-status", 2),
    OPAQUE_VERSION: ("opaque-data-version", 2),
    CHIP_INFO: ("chip-info", 0),
    FEATURE_FLAG: ("feature-flag", 2),
}

DEVICE_PDI, SWITCH_GPU_PDIS = 22, 26
MAX_SWITCH_GPUS = 8
SWITCH_FIELDS: Mapping[int, tuple[str, int]] = {
    VBIOS: ("bios-version", 0),
    COUNTS: ("measurement-counts", 0),
    DEVICE_PDI: ("device-pdi", PDI_SIZE),
    23: ("disabled-ports", 0),
    24: ("position-id", 2),
    25: ("lock-status", 2),
    # The ids of up to eight GPUs, then for each of 64 ports the number of its GPU.
    SWITCH_GPU_PDIS: ("gpu-pdis", MAX_SWITCH_GPUS * PDI_SIZE + 64),
}
_TEXT = re.compile(rb"[0-9A-Za-z._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: its bytes."""

    value: bytes


Fields = Mapping[int, Field]


def parse_opaque(data: bytes, known: Mapping[int, tuple[str, int]]) -> Fields:
    """Return the fields by number.

    Raises:
        MalformedMessage: the layout, its version or a field is not as it must be.
    """
    reader = Reader(data, "opaque data")
    header = data.startswith(MAGIC)
    if header:
        _read_header(reader)
    fields: dict[int, Field] = {}
    while reader.left:
        number = reader.little(2)
        value_type = reader.little(2) if header else 0
        value = reader.take(reader.little(2))
        if number in fields:
            raise MalformedMessage(f"opaque data has field {number} twice")
        if header and value_type not in _VALUE_TYPES:
            raise MalformedMessage(
                f"opaque data field {number} is of value type {value_type:#x}, which is unknown"
            )
        if number in known:
            name, size = known[number]
            if size and len(value) != size:
                raise MalformedMessage(f"opaque data {name} has {len(value)} bytes, want {size}")
        elif value_type != SECURITY_VERSION:
            raise MalformedMessage(f"opaque data has field {number}, which is unknown")
        if value_type == SECURITY_VERSION and len(value) != 2:
            raise MalformedMessage(f"opaque data field {number} is no 2-byte security version")
        fields[number] = Field(value=value)
    if not header and OPAQUE_VERSION in known:
        _check_legacy_version(fields)
    return fields


def _read_header(reader: Reader) -> None:
    reader.take(len(MAGIC))
    profile, major = reader.little(2), reader.little(1)
    reader.take(2)  # minor and patch: they only add
    if profile != 0 or major != HEADER_MAJOR:
        raise MalformedMessage(
            f"opaque data is of profile {profile}, version {major}, want 0 and {HEADER_MAJOR}"
        )
    reader.zeros(1, "padding after the version")


def _check_legacy_version(fields: Fields) -> None:
    version = fields.get(OPAQUE_VERSION)
    number = 0 if version is None else int.from_bytes(version.value, "little")
    if number not in LEGACY_VERSIONS:
        raise MalformedMessage(
            f"opaque data without a header is of version {number}, want "
            + " or ".join(map(str, LEGACY_VERSIONS))
        )


def text(fields: Fields, number: int, name: str) -> str:
    """Return a field that is a text, without the zeros at its end.

    Only letters, digits and `._-` may be in it: it becomes a part of a file's name.

    Raises:
        MalformedMessage: it is not there, or is no such text.
    """
    field = fields.get(number)
    if field is None:
        raise MalformedMessage(f"opaque data has no {name}")
    value = field.value.rstrip(b"\x00")
    if not _TEXT.fullmatch(value) or len(value) > 40:
        raise MalformedMessage(f"opaque data {name} is no short text of letters, digits and ._-")
    return value.decode("ascii")


def switched(fields: Fields, number: int, name: str) -> bool | None:
    """Return whether something is on; None if the report does not say.

    Raises:
        MalformedMessage: the value is neither on nor off.
    """
    field = fields.get(number)
    if field is None:
        return None
    if field.value[0] not in (ENABLED, DISABLED):
        raise MalformedMessage(
            f"opaque data {name} is {field.value[0]:#x}, want {ENABLED:#x} or {DISABLED:#x}"
        )
    return field.value[0] == ENABLED
