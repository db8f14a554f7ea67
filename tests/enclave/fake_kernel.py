"""A kernel that exists in tests alone: configfs-tsm, Gramine's files, /dev/sev-guest and /dev/nsm.

Each answers as its original does, system call by system call, errors included:
  * configfs-tsm: drivers/virt/coco/guest/report.c and sev-guest.c, tdx-guest.c, arm-cca-guest.c;
  * /dev/sev-guest: drivers/virt/coco/sev-guest/sev-guest.c, get_ext_report();
  * /dev/nsm: drivers/misc/nsm.c, and the messages of aws-nitro-enclaves-nsm-api;
  * /dev/attestation: Gramine, libos/src/fs/dev/attestation.c.

What the hardware behind it says is a function of the report data, given by the test.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cbor2

from fedenclave.enclave.attesters.kernel import Kernel

REPORTS = Path("/sys/kernel/config/tsm/report")
CCEL = Path("/sys/firmware/acpi/tables/data/CCEL")
Report = Callable[[bytes], bytes]


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class Entry:
    """A folder in `tsm/report`."""

    inblob: bytes = b""
    level: int = 0
    written: int = 0
    read: int = 0
    outblob: bytes | None = None
    auxblob: bytes = b""


@dataclass
class ConfigfsTsm:
    """`/sys/kernel/config/tsm/report`; `disturb` is called before each system call on a file."""

    provider: str | None
    report: Report = lambda data: b"report over " + data
    certificates: bytes = b""
    floor: int = 0
    disturb: Callable[[Entry, str], None] = lambda entry, name: None
    entries: dict[str, Entry] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def make(self, path: Path) -> None:
        if self.provider is None:
            raise failure(errno.ENXIO)
        if path.name in self.entries:
            raise failure(errno.EEXIST)
        self.entries[path.name] = Entry()
        self.made.append(path.name)

    def remove(self, path: Path) -> None:
        del self.entries[path.name]

    def get(self, path: Path) -> bytes:
        entry, name = self._of(path)
        snp = self.provider == "sev_guest"
        if name == "generation":
            return b"%d\n" % entry.written
        if name == "provider":
            return f"{self.provider}\n".encode()
        if name == "privlevel_floor" and snp:
            return b"%d\n" % self.floor
        if name in ("outblob", "auxblob") and (name == "outblob" or snp):
            return self._made(entry, name)
        raise failure(errno.EACCES if name in ("inblob", "privlevel") else errno.ENOENT)

    def put(self, path: Path, content: bytes) -> None:
        entry, name = self._of(path)
        if name == "inblob":
            if len(content) > 64:
                raise failure(errno.EFBIG)
            # Taken when the file is closed, and close tells no error.
            if self._advance(entry):
                entry.inblob = content
        elif name == "privlevel" and self.provider == "sev_guest":
            level = int(content)
            if not self.floor <= level <= 3:
                raise failure(errno.EINVAL)
            if not self._advance(entry):
                raise failure(errno.EBUSY)
            entry.level = level
        else:
            raise failure(errno.EACCES)

    def _of(self, path: Path) -> tuple[Entry, str]:
        if path.parent.name not in self.entries:
            raise failure(errno.ENOENT)
        entry = self.entries[path.parent.name]
        self.disturb(entry, path.name)
        return entry, path.name

    def _advance(self, entry: Entry) -> bool:
        if entry.written == (entry.read - 1) % 2**64:
            return False
        entry.written += 1
        return True

    def _made(self, entry: Entry, name: str) -> bytes:
        if not entry.inblob:
            raise failure(errno.EINVAL)
        if entry.outblob is None or entry.read != entry.written:
            wanted = range(32, 65) if self.provider == "arm_cca_guest" else range(64, 65)
            if len(entry.inblob) not in wanted or entry.level < self.floor:
                raise failure(errno.EINVAL)
            entry.outblob, entry.auxblob = self.report(entry.inblob), self.certificates
            entry.read = entry.written
        return entry.outblob if name == "outblob" else entry.auxblob


@dataclass
class Gramine:
    """`/dev/attestation`."""

    quote: Report = lambda data: b"quote over " + data
    kind: bytes | None = b"dcap"
    data: bytes = bytes(64)

    @property
    def names(self) -> set[str]:
        """Without SGX there are only keys; without remote attestation there is no quote."""
        if self.kind is None:
            return {"keys"}
        sgx = {"attestation_type", "user_report_data", "target_info", "report"}
        return sgx | ({"quote"} if self.kind != b"none" else set())

    def get(self, path: Path) -> bytes:
        if path.name not in self.names:
            raise failure(errno.ENOENT)
        assert self.kind is not None
        return self.kind if path.name == "attestation_type" else self.quote(self.data)

    def put(self, path: Path, content: bytes) -> None:
        if path.name not in self.names:
            raise failure(errno.ENOENT)
        self.data = content[:64].ljust(64, b"\0")


def sev_guest(report: Report, table: bytes = b"", status: int = 0) -> Callable[..., None]:
    """Return what `/dev/sev-guest` does; it writes where the pointers in a request point."""

    def ioctl(request: int, argument: bytearray) -> None:
        version, asked, answer, _ = struct.unpack("<B7xQQQ", argument)
        if request != 0xC0205302:
            raise failure(errno.ENOTTY)
        if not version or not asked or not answer:
            raise failure(errno.EINVAL)
        content = ctypes.string_at(asked, 112)
        data, level, reserved, address, length = struct.unpack("<64sI28sQI4x", content)
        if length > 0x4000 or length % 4096 or any(reserved):
            raise failure(errno.EINVAL)
        if len(table) > length:
            argument[24:32] = struct.pack("<II", 0, 1)
            raise failure(errno.EIO)
        made = report(data) if not status and level == 0 else b""
        response = struct.pack("<II24x", status, len(made)) + made
        ctypes.memmove(address, table.ljust(length, b"\0"), length)
        ctypes.memmove(answer, response.ljust(4000, b"\0"), 4000)

    return ioctl


def nsm(document: Report, answer: bytes | None = None) -> Callable[..., None]:
    """Return what `/dev/nsm` does; `answer` in place of an honest response."""

    def ioctl(request: int, argument: bytearray) -> None:
        at, size, to, room = struct.unpack("<QQQQ", argument)
        if request != 0xC0200A00:
            raise failure(errno.EINVAL)
        if size > 0x1000:
            raise failure(errno.EMSGSIZE)
        asked = cbor2.loads(ctypes.string_at(at, size))
        if set(asked) != {"Attestation"} or set(asked["Attestation"]) != {
            "user_data",
            "nonce",
            "public_key",
        }:
            response = cbor2.dumps({"Error": "InvalidOperation"})
        else:
            said = {"document": document(asked["Attestation"]["user_data"])}
            response = cbor2.dumps({"Attestation": said})
        response = answer if answer is not None else response
        size = min(len(response), room, 0x3000)
        ctypes.memmove(to, response, size)
        argument[24:32] = struct.pack("<Q", size)

    return ioctl


class FakeKernel(Kernel):
    """Has what it is given, and nothing else."""

    def __init__(
        self,
        *,
        tsm: ConfigfsTsm | None = None,
        gramine: Gramine | None = None,
        devices: dict[str, Callable[..., None]] | None = None,
        files: dict[Path, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.folders = {REPORTS: tsm, Path("/dev/attestation"): gramine}
        self.devices = {Path(path): device for path, device in (devices or {}).items()}
        self.files = files or {}

    def _owner(self, path: Path) -> ConfigfsTsm | Gramine | None:
        return next((self.folders[p] for p in path.parents if p in self.folders), None)

    def exists(self, path: Path) -> bool:
        if isinstance(owner := self._owner(path), Gramine):
            return path.name in owner.names
        return self.is_folder(path) or path in self.devices or path in self.files

    def is_folder(self, path: Path) -> bool:
        return self.folders.get(path) is not None

    def read(self, path: Path, limit: int) -> bytes:
        if path in self.files:
            content = self.files[path]
        elif owner := self._owner(path):
            content = owner.get(path)
        else:
            raise failure(errno.ENOENT)
        if len(content) > limit:
            raise failure(errno.EFBIG)
        return content

    def write(self, path: Path, content: bytes) -> None:
        owner = self._owner(path)
        if owner is None:
            raise failure(errno.ENOENT)
        owner.put(path, content)

    def _tsm(self, path: Path) -> ConfigfsTsm:
        owner = self._owner(path)
        if owner is None:
            raise failure(errno.ENOENT)
        assert isinstance(owner, ConfigfsTsm)
        return owner

    def make_folder(self, path: Path) -> None:
        self._tsm(path).make(path)

    def remove_folder(self, path: Path) -> None:
        self._tsm(path).remove(path)

    def ioctl(self, device: Path, request: int, argument: bytearray) -> None:
        if device not in self.devices:
            raise failure(errno.ENOENT)
        self.devices[device](request, argument)
