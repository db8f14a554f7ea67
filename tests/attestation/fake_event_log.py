"""A firmware's event log, made up, and the registers that it leads to."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field

from tests.attestation.tpm_structures import HASH_IDS


def le32(number: int) -> bytes:
    return number.to_bytes(4, "little")


@dataclass
class Log:
    """An event log and the registers it leads to."""

    banks: tuple[str, ...] = ("sha1", "sha256")
    events: list[bytes] = field(default_factory=list)
    registers: dict[int, bytes] = field(default_factory=dict)

    def header(self) -> bytes:
        algorithms = b"".join(
            HASH_IDS[b].to_bytes(2, "little") + hashlib.new(b).digest_size.to_bytes(2, "little")
            for b in self.banks
        )
        data = b"Spec ID Event03\x00" + le32(0) + bytes([0, 2, 0, 2]) + le32(len(self.banks))
        data += algorithms + b"\x00"
        return le32(0) + le32(3) + bytes(20) + le32(len(data)) + data

    def add(self, index: int, type_: int, data: bytes, measured: bytes | None = None) -> None:
        """Log `data`; what is hashed is `measured` where that is something else."""
        digests = b"".join(
            HASH_IDS[b].to_bytes(2, "little")
            + (bytes(hashlib.new(b).digest_size) if type_ == 3 else self._hash(b, data, measured))
            for b in self.banks
        )
        entry = le32(index) + le32(type_) + le32(len(self.banks)) + digests
        self.events.append(entry + le32(len(data)) + data)
        if type_ != 3:
            before = self.registers.get(index, bytes(32))
            extended = self._hash("sha256", data, measured)
            self.registers[index] = hashlib.sha256(before + extended).digest()

    @staticmethod
    def _hash(bank: str, data: bytes, measured: bytes | None) -> bytes:
        return hashlib.new(bank, data if measured is None else measured).digest()

    def to_bytes(self) -> bytes:
        return self.header() + b"".join(self.events)


def variable(
    name: str, value: bytes, vendor: str = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
) -> bytes:
    head = uuid.UUID(vendor).bytes_le + len(name).to_bytes(8, "little")
    return head + len(value).to_bytes(8, "little") + name.encode("utf-16-le") + value


def boot_log(*, secure_boot: bool = True, loader: bytes = b"shim") -> Log:
    """Return what a usual firmware logs, shortened."""
    log = Log()
    log.add(0, 0x8, b"firmware 1.0")
    log.add(0, 0x8000000A, b"where the firmware lies", b"the firmware")
    log.add(7, 0x80000001, variable("SecureBoot", bytes([secure_boot])))
    log.add(7, 0x80000001, variable("PK", b"platform key"))
    log.add(1, 0x80000002, variable("BootOrder", b"\x01\x00"))
    log.add(1, 0x80000002, variable("Boot0001", b"disk"), b"disk")
    log.add(4, 0x80000007, b"Calling EFI Application from Boot Option")
    for index in (0, 1, 4, 7):
        log.add(index, 0x4, bytes(4))
    log.add(4, 0x80000003, b"path of the loader", loader)
    log.add(8, 0xD, b"grub_cmd: linux", b"linux")
    return log
