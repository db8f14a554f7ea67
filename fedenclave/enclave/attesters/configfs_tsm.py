"""Ask Linux's configfs-tsm for a report: AMD SEV-SNP, Intel TDX and Arm CCA guests.

A folder made below `/sys/kernel/config/tsm/report` is a report of its own: write `inblob`, read
`outblob`. A write to `inblob` that the kernel refuses is not told to the writer, and somebody else
with the same rights may write to the folder too. Both show in `generation`, which counts accepted
writes: it must have moved by exactly ours, or what was read is thrown away.

Which part each kind of guest gives:
  * `sev_guest`: `report`; `certificate-table` where the host supplies certificates (`auxblob`, as
    in the GHCB specification 2.03, section 4.1.8.1);
  * `tdx_guest`: `quote`; `event-log` where the firmware's log can be read (ACPI table CCEL);
  * `arm_cca_guest`: `token`.

Needs Linux 6.7 (6.13 for CCA), a mounted configfs, and root: making the folder is the only step
that asks for a right.

Source: Linux, Documentation/ABI/testing/configfs-tsm-report; drivers/virt/coco/guest/report.c.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import (
    MAX_PART,
    AttestationUnavailable,
    hardware_evidence,
    unavailable,
)
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.protocol.evidence import Evidence

REPORTS = "/sys/kernel/config/tsm/report"
EVENT_LOG = "/sys/firmware/acpi/tables/data/CCEL"
HINT = (
    "it takes Linux 6.7 or later, `mount -t configfs none /sys/kernel/config`, the guest's driver "
    "(sev-guest, tdx-guest or arm-cca-guest), and root"
)
_TRIES = 3
_PASSING = (errno.EAGAIN, errno.EBUSY)
"""Somebody else is being served, or wrote to the report that is ours."""
_MAX_TEXT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One kind of guest: the evidence format and what its files are called there."""

    format: str
    out: str
    aux: str = ""
    log: str = ""


_KINDS = {
    "sev_guest": _Kind(format="sev-snp", out="report", aux="certificate-table"),
    "tdx_guest": _Kind(format="tdx", out="quote", log="event-log"),
    "arm_cca_guest": _Kind(format="cca", out="token"),
}


class _Report:
    """One report's folder."""

    def __init__(self, kernel: Kernel, reports: Path) -> None:
        """Make it under a name that nobody else has."""
        self._kernel = kernel
        self._folder = reports / f"fedenclave-{os.urandom(8).hex()}"
        kernel.make_folder(self._folder)

    def remove(self) -> None:
        """Remove it. One that stays behind holds nothing secret and disturbs nobody."""
        with suppress(OSError):
            self._kernel.remove_folder(self._folder)

    def text(self, name: str) -> str:
        """Return an attribute's line."""
        return self._kernel.read(self._folder / name, _MAX_TEXT).decode("latin-1").strip()

    def number(self, name: str) -> int:
        """Return an attribute's number."""
        text = self.text(name)
        if not (text.isascii() and text.isdecimal()):
            raise OSError(errno.EPROTO, f"{name} is no number")
        return int(text)

    def write(self, name: str, content: bytes) -> None:
        """Write an attribute."""
        self._kernel.write(self._folder / name, content)

    def blob(self, name: str) -> bytes:
        """Return a binary attribute."""
        return self._kernel.read(self._folder / name, MAX_PART)

    def privilege_floor(self) -> int:
        """Return the level at which this guest runs; 0 where it has no levels."""
        try:
            return self.number("privlevel_floor")
        except FileNotFoundError:
            return 0


class TsmAttester:
    """Makes a report per piece of evidence, and removes it."""

    def __init__(self, kernel: Kernel, reports: Path, name: str) -> None:
        """Ask in the folder `reports` for evidence of the format `name`."""
        self._kernel, self._reports, self.format = kernel, reports, name

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        with unavailable(f"get a report from {self._reports}", hint=HINT):
            for _ in range(_TRIES - 1):
                try:
                    return hardware_evidence(self.format, self._ask(report_data), key)
                except OSError as error:
                    if error.errno not in _PASSING:
                        raise
            return hardware_evidence(self.format, self._ask(report_data), key)

    def _ask(self, report_data: bytes) -> dict[str, bytes]:
        report = _Report(self._kernel, self._reports)
        try:
            provider = report.text("provider")
            kind = _KINDS.get(provider)
            if kind is None or kind.format != self.format:
                raise AttestationUnavailable(
                    f"reports are by {provider!a}, which does not make {self.format}",
                    hint="name what this machine is, or `auto`",
                )
            return self._read(report, kind, report_data)
        finally:
            report.remove()

    def _read(self, report: _Report, kind: _Kind, report_data: bytes) -> dict[str, bytes]:
        wanted = report.number("generation")
        # The kernel asks for level 0, unless told otherwise, and the firmware refuses a level
        # above the guest's own: below an SVSM the guest has to name its level.
        if floor := report.privilege_floor():
            report.write("privlevel", b"%d" % floor)
            wanted += 1
        report.write("inblob", report_data)
        wanted += 1
        parts = {kind.out: report.blob("outblob")}
        if kind.aux and (table := report.blob("auxblob")):
            parts[kind.aux] = table
        if report.number("generation") != wanted:
            raise OSError(errno.EBUSY, "somebody else wrote to the report")
        if kind.log and (log := self._event_log()):
            parts[kind.log] = log
        return parts

    def _event_log(self) -> bytes:
        """Return the firmware's log; empty where there is none that this user may read.

        A policy that needs the log refuses evidence without it, so that its absence is no error.
        """
        with suppress(OSError):
            return self._kernel.read(self._kernel.path(EVENT_LOG), MAX_PART)
        return b""


def registered_format(kernel: Kernel, reports: Path) -> str | None:
    """Return the evidence format of the guest that reports here; None where nothing does.

    Raises:
        AttestationUnavailable: it cannot be told, or is one that this version does not know.
    """
    with unavailable(f"ask {reports} what this machine is", hint=HINT):
        try:
            report = _Report(kernel, reports)
        except OSError as error:
            # The interface is there and no TEE's driver: kernels may have it built in anywhere.
            if error.errno == errno.ENXIO:
                return None
            raise
        try:
            provider = report.text("provider")
        finally:
            report.remove()
    if provider not in _KINDS:
        raise AttestationUnavailable(f"reports are by {provider!a}, unknown to this version")
    return _KINDS[provider].format
