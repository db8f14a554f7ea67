"""Parse an NVIDIA attestation report: an SPDM request and its signed answer, one after the other.

Not the verification of anything: nothing here is trusted before `device.py` has verified the
signature.

Source: DSP0274 1.1.2 (SPDM): table 51 (GET_MEASUREMENTS), table 52 (MEASUREMENTS), table 53
(measurement block) and table 54 (DMTF measurement). The same layout holds for Hopper, Blackwell
(GSP) and the NVSwitch LS10. What CoRIM-based devices (Rubin, the FSP of Blackwell) send is another
format.

    0        request: version, code, param1, param2, nonce (32), slot     37 bytes
    37       answer: version, code, param1, param2, number of blocks, length of the record (3)
    45       measurement record
    ..       nonce of the device (32), length of the opaque data (2), opaque data
    -96      signature: r and s of ECDSA P-384 over SHA-384 of everything before it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.nvidia import opaque
from fedenclave.attestation.nvidia.opaque import Fields
from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

VERSION = 0x11
GET_MEASUREMENTS, MEASUREMENTS = 0xE0, 0x60
SIGNATURE_REQUESTED, ALL_MEASUREMENTS = 0x01, 0xFF
NONCE_SIZE = 32
SIGNATURE_SIZE = 96
MAX_SLOT = 7
DMTF = 0x01
_BLOCK_HEADER = 3
# Digests of: immutable ROM, mutable firmware, hardware and firmware configuration, manifest.
_DIGEST_TYPES = range(5)
PREFIX = bytes([VERSION, GET_MEASUREMENTS, SIGNATURE_REQUESTED, ALL_MEASUREMENTS])
MAX_REPORT = 1 << 16

SINGLE_GPU, MULTI_GPU, PROTECTED_PCIE_MODE = "single-gpu", "multi-gpu", "protected-pcie"
NOT_REPORTED = "not-reported"
MODES = (SINGLE_GPU, MULTI_GPU, PROTECTED_PCIE_MODE, NOT_REPORTED)
_FEATURE_FLAGS = {0: SINGLE_GPU, 1: MULTI_GPU, 2: PROTECTED_PCIE_MODE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report, parsed.

    Attributes:
        nonce: 32 bytes, of whoever asked.
        measurements: SHA-384 digests by the index of their block, from 1.
        record: the measurement record's own bytes.
        fields: of the opaque data.
        signed: the bytes under the signature.
        signature: 96 bytes, r and s.
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    record: bytes
    fields: Fields
    signed: bytes
    signature: bytes


def parse_report(data: bytes, *, switch: bool) -> Report:
    """Return the report of a GPU, or of an NVSwitch.

    Raises:
        MalformedMessage: it is none.
    """
    if len(data) > MAX_REPORT:
        raise MalformedMessage(f"report has {len(data)} bytes, want at most {MAX_REPORT}")
    reader = Reader(data, "report")
    nonce, slot = _read_request(reader)
    _expect(reader, "answer version", VERSION)
    _expect(reader, "answer code", MEASUREMENTS)
    _expect(reader, "answer param1", 0)
    _expect(reader, "answer slot", slot)
    blocks = reader.little(1)
    record = reader.take(reader.little(3))
    measurements = _read_record(Reader(record, "measurement record"), blocks)
    reader.take(NONCE_SIZE)  # the device's own: nobody but the device can judge it
    known = opaque.SWITCH_FIELDS if switch else opaque.GPU_FIELDS
    fields = opaque.parse_opaque(reader.take(reader.little(2)), known)
    signed = data[: reader.at]
    signature = reader.take(SIGNATURE_SIZE)
    reader.finish()
    return Report(
        nonce=nonce,
        measurements=measurements,
        record=record,
        fields=fields,
        signed=signed,
        signature=signature,
    )


def _read_request(reader: Reader) -> tuple[bytes, int]:
    _expect(reader, "request version", VERSION)
    _expect(reader, "request code", GET_MEASUREMENTS)
    _expect(reader, "request attributes", SIGNATURE_REQUESTED)
    _expect(reader, "request operation", ALL_MEASUREMENTS)
    nonce = reader.take(NONCE_SIZE)
    slot = reader.little(1)
    if slot > MAX_SLOT:
        raise MalformedMessage(f"report request slot is {slot}, want 0 to {MAX_SLOT}")
    return nonce, slot


def _expect(reader: Reader, field: str, wanted: int) -> None:
    value = reader.little(1)
    if value != wanted:
        raise MalformedMessage(f"report {field} is {value:#x}, want {wanted:#x}")


def _read_record(reader: Reader, blocks: int) -> dict[int, bytes]:
    measurements: dict[int, bytes] = {}
    previous = 0
    for _ in range(blocks):
        index = reader.little(1)
        if index <= previous:
            raise MalformedMessage(f"measurement {index} comes after {previous}, want rising ones")
        previous = index
        _expect(reader, f"specification of measurement {index}", DMTF)
        size = reader.little(2)
        kind, value_size = reader.little(1), reader.little(2)
        digest = kind in _DIGEST_TYPES and value_size == opaque.DIGEST_SIZE
        if not digest or size != _BLOCK_HEADER + value_size:
            raise MalformedMessage(
                f"measurement {index} is of type {kind:#x} with {value_size} bytes, want a sha-384"
            )
        measurements[index] = reader.take(value_size)
    reader.finish()
    if not measurements:
        raise MalformedMessage("report has no measurements")
    return measurements


def driver_version(fields: Fields) -> str:
    """Return the driver's version, such as `550.90.07`.

    Raises:
        MalformedMessage: there is none.
    """
    return opaque.text(fields, opaque.DRIVER, "driver version")


def vbios_version(fields: Fields, *, switch: bool) -> str:
    """Return the VBIOS version as NVIDIA writes it, such as `96.00.9F.00.01`.

    Raises:
        MalformedMessage: there is none.
    """
    if switch:
        return opaque.text(fields, opaque.VBIOS, "bios version").upper()
    field = fields.get(opaque.VBIOS)
    if field is None:
        raise MalformedMessage("opaque data has no vbios version")
    value = field.value
    if any(value[5:]):
        raise MalformedMessage("opaque data vbios version has more than 5 bytes")
    # A little-endian word, and the byte after it.
    return ".".join(f"{byte:02X}" for byte in (*reversed(value[:4]), value[4]))


def mode(fields: Fields) -> str:
    """Return how the GPU is confidential, one of `MODES`.

    Drivers before 580 do not say, but for whether it is protected PCIe.

    Raises:
        MalformedMessage: the report contradicts itself, or names a mode that is unknown.
    """
    pcie = opaque.switched(fields, opaque.PROTECTED_PCIE, "protected pcie status")
    field = fields.get(opaque.FEATURE_FLAG)
    if field is None:
        return PROTECTED_PCIE_MODE if pcie else NOT_REPORTED
    flag = int.from_bytes(field.value, "little")
    if flag not in _FEATURE_FLAGS:
        raise MalformedMessage(f"opaque data feature flag is {flag}, which is unknown")
    found = _FEATURE_FLAGS[flag]
    if pcie is not None and pcie != (found == PROTECTED_PCIE_MODE):
        raise MalformedMessage(f"report says mode {found}, and protected pcie {pcie}")
    return found


def pdis(fields: Fields, number: int, *, limit: int = 0) -> frozenset[bytes]:
    """Return the ids of the devices that a field names, without the zeros of unused links.

    Raises:
        MalformedMessage: it is no list of ids.
    """
    field = fields.get(number)
    value = b"" if field is None else field.value
    value = value[: limit * opaque.PDI_SIZE] if limit else value
    if len(value) % opaque.PDI_SIZE:
        raise MalformedMessage(f"opaque data field {number} is no list of device ids")
    found = (value[at : at + opaque.PDI_SIZE] for at in range(0, len(value), opaque.PDI_SIZE))
    return frozenset(pdi for pdi in found if any(pdi))
