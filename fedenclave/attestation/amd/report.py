"""ATTESTATION_REPORT of SEV-SNP: 1184 bytes, versions 2, 3, 4 and 5, parsed strictly.

Parsed is not verified: `verify.py` checks the signature over the first 0x2A0 bytes.

Layout (AMD 56860, SEV-SNP Firmware ABI, revision 1.58, table 23; signature: table 141):

    0x000 version             0x0C0 host data           0x1A0 chip id
    0x004 guest svn           0x0E0 id key digest       0x1E0 committed tcb
    0x008 policy (table 9)    0x110 author key digest   0x1E8 current firmware
    0x010 family id           0x140 report id           0x1EC committed firmware
    0x020 image id            0x160 report id ma        0x1F0 launch tcb
    0x030 vmpl                0x180 reported tcb        0x1F8 launch mitigations, from 5 on
    0x034 signature algorithm 0x188 cpuid, from 3 on    0x200 current mitigations, from 5 on
    0x038 current tcb         0x040 platform info       0x2A0 r and 0x2E8 s, 72 bytes each
    0x048 key info            0x050 report data         0x330 zeros
    0x090 measurement

Rules:
  * A version that is not in `VERSIONS` is refused. No public revision describes version 4, which
    firmware 1.55 of 2025 writes; it has the fields of version 3, and everything else must be zero.
  * Every reserved byte and bit must be what the table says, and an unknown value is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fedenclave.attestation.amd.flags import check_guest_policy, check_platform_info
from fedenclave.attestation.amd.tcb import TCB_SIZE
from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

REPORT_SIZE = 0x4A0
SIGNED_SIZE = 0x2A0
VERSIONS = (2, 3, 4, 5)
ECDSA_P384_SHA384 = 1
NO_MIGRATION_AGENT = (b"\xff" * 32, bytes(32))
_WITH_CPUID, _WITH_MITIGATIONS = 3, 5
_AUTHOR_KEY, _MASK_CHIP_KEY, _SIGNING_KEY_SHIFT, _KEY_INFO_BITS = 1, 2, 2, 5
_SCALAR, _P384 = 72, 48
_SIGNATURE_PADDING = 512 - 2 * _SCALAR


class SigningKey(IntEnum):
    """SIGNING_KEY in the report's key info; other values are reserved."""

    VCEK = 0
    VLEK = 1
    NONE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """CPUID of the processor, in reports from version 3 on."""

    family: int
    model: int
    stepping: int

    def __str__(self) -> str:
        """Return them as data sheets write them."""
        return f"family {self.family:02X}h model {self.model:02X}h stepping {self.stepping}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report. The four TCB_VERSIONs are raw: what they mean depends on the product.

    `current_firmware` and `committed_firmware` are (major, minor, build). `cpu` is None before
    version 3; the mitigation vectors are None before version 5. `signature` is (r, s).
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: bytes
    platform_info: int
    author_key_enabled: bool
    chip_key_masked: bool
    signing_key: SigningKey
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpu: Cpu | None
    chip_id: bytes
    committed_tcb: bytes
    current_firmware: tuple[int, int, int]
    committed_firmware: tuple[int, int, int]
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    signed: bytes
    signature: tuple[int, int]

    @property
    def chip_id_masked(self) -> bool:
        """Whether the host had the chip's id left out."""
        return not any(self.chip_id)


def parse_report(data: bytes) -> Report:
    """Return the report that `data` is.

    Raises:
        MalformedMessage: its length, version, algorithm, or a reserved field is not as the table
            says.
    """
    if len(data) != REPORT_SIZE:
        raise MalformedMessage(f"snp report has {len(data)} bytes, want {REPORT_SIZE}")
    reader = Reader(data, "snp report")
    version = reader.little(4)
    if version not in VERSIONS:
        raise MalformedMessage(f"snp report is of version {version}, want 2 to 5")
    guest_svn = reader.little(4)
    policy = reader.little(8)
    check_guest_policy(policy)
    family_id, image_id = reader.take(16), reader.take(16)
    vmpl, algorithm = reader.little(4), reader.little(4)
    if algorithm != ECDSA_P384_SHA384:
        raise MalformedMessage(
            f"snp report names signature algorithm {algorithm}, want 1 (ECDSA P-384 with SHA-384)"
        )
    current_tcb = reader.take(TCB_SIZE)
    platform_info = reader.little(8)
    check_platform_info(platform_info)
    key_info = reader.little(4)
    reader.zeros(4, "at 0x04C")
    report_data, measurement, host_data = reader.take(64), reader.take(48), reader.take(32)
    id_key_digest, author_key_digest = reader.take(48), reader.take(48)
    report_id, report_id_ma = reader.take(32), reader.take(32)
    reported_tcb = reader.take(TCB_SIZE)
    cpu = _take_cpu(reader, version)
    chip_id, committed_tcb = reader.take(64), reader.take(TCB_SIZE)
    current_firmware, committed_firmware = _take_firmware(reader), _take_firmware(reader)
    launch_tcb = reader.take(TCB_SIZE)
    launch_mitigations, current_mitigations = _take_mitigations(reader, version)
    signature = _take_scalar(reader), _take_scalar(reader)
    reader.zeros(_SIGNATURE_PADDING, "after the signature")
    reader.finish()
    return Report(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        family_id=family_id,
        image_id=image_id,
        vmpl=vmpl,
        current_tcb=current_tcb,
        platform_info=platform_info,
        author_key_enabled=bool(key_info & _AUTHOR_KEY),
        chip_key_masked=bool(key_info & _MASK_CHIP_KEY),
        signing_key=_signing_key(key_info),
        report_data=report_data,
        measurement=measurement,
        host_data=host_data,
        id_key_digest=id_key_digest,
        author_key_digest=author_key_digest,
        report_id=report_id,
        report_id_ma=report_id_ma,
        reported_tcb=reported_tcb,
        cpu=cpu,
        chip_id=chip_id,
        committed_tcb=committed_tcb,
        current_firmware=current_firmware,
        committed_firmware=committed_firmware,
        launch_tcb=launch_tcb,
        launch_mitigations=launch_mitigations,
        current_mitigations=current_mitigations,
        signed=data[:SIGNED_SIZE],
        signature=signature,
    )


def _signing_key(key_info: int) -> SigningKey:
    if key_info >> _KEY_INFO_BITS:
        raise MalformedMessage(f"snp report has unknown key info bits: 0x{key_info:x}")
    try:
        return SigningKey(key_info >> _SIGNING_KEY_SHIFT)
    except ValueError as error:
        raise MalformedMessage(
            f"snp report names signing key {key_info >> 2}, want 0 or 1"
        ) from error


def _take_cpu(reader: Reader, version: int) -> Cpu | None:
    if version < _WITH_CPUID:
        reader.zeros(24, "at 0x188")
        return None
    cpu = Cpu(family=reader.little(1), model=reader.little(1), stepping=reader.little(1))
    reader.zeros(21, "at 0x18B")
    return cpu


def _take_firmware(reader: Reader) -> tuple[int, int, int]:
    build, minor, major = reader.take(3)
    reader.zeros(1, "after a firmware version")
    return major, minor, build


def _take_mitigations(reader: Reader, version: int) -> tuple[int | None, int | None]:
    if version < _WITH_MITIGATIONS:
        reader.zeros(168, "at 0x1F8")
        return None, None
    vectors = reader.little(8), reader.little(8)
    reader.zeros(152, "at 0x208")
    return vectors


def _take_scalar(reader: Reader) -> int:
    value = reader.little(_P384)
    reader.zeros(_SCALAR - _P384, "above a number of the signature")
    return value
