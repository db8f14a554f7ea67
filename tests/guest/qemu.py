"""Start a guest in software emulation with UEFI firmware and a software TPM, and have it quoted.

The firmware measures itself, its settings and the kernel; the kernel's EFI stub measures command
line and initial file system. All of QEMU is on the host's side: whoever runs it owns this TPM, and
reads the guest's memory. It shows what measured boot measures, and protects nothing.

Nothing is installed or downloaded here; `missing` says what is not there.
"""

import base64
import os
import platform
import re
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.guest.init import EVIDENCE, READY
from tests.tpm.swtpm import PROGRAMS

QEMU = "qemu-system-x86_64"
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
KERNEL_VARIABLE = "FEDENCLAVE_GUEST_KERNEL"
PACKAGES = "qemu-system-x86 ovmf swtpm swtpm-tools linux-image-cloud-amd64"
MEMORY = 768 << 20
"""Bytes: the image is there twice, packed and unpacked."""

LIMIT_SECONDS = 300.0
_TAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a guest is started with."""

    kernel: Path
    image: Path
    command_line: str


def find_kernel() -> Path | None:
    """Return the kernel that the environment names, or the newest installed one."""
    if given := os.environ.get(KERNEL_VARIABLE):
        return Path(given)
    found = [*Path("/boot").glob("vmlinuz-*"), *Path("/usr/lib/modules").glob("*/vmlinuz")]
    # Some distributions let only root read it.
    readable = [path for path in found if os.access(path, os.R_OK)]
    return max(readable, key=_version, default=None)


def _version(kernel: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(kernel))]


def missing() -> str:
    """Return why no guest can be started here; empty if one can."""
    if platform.machine() != "x86_64":
        return f"the guest takes this machine's Python, and {platform.machine()} is not x86_64"
    absent = [name for name in (QEMU, *PROGRAMS) if shutil.which(name) is None]
    absent += [str(path) for path in (FIRMWARE, VARIABLES) if not path.is_file()]
    if find_kernel() is None:
        absent.append(f"a kernel (in /boot, or where {KERNEL_VARIABLE} says)")
    return f"{', '.join(absent)} not installed (packages {PACKAGES})" * bool(absent)


def quote(start: Start, tpm: Path, challenge: bytes) -> bytes:
    """Start a guest and return its encoded evidence over `challenge`; it is off afterwards.

    Args:
        start: what is started.
        tpm: the folder with the TPM's state; logs and the firmware's variables go beside it.
        challenge: 1 to 64 bytes.

    Raises:
        AssertionError: it gives none; the error shows the end of what it said.
    """
    folder = tpm.parent
    variables, console = folder / "variables.fd", folder / "console.log"
    shutil.copy(VARIABLES, variables)
    ours, theirs = socket.socketpair()
    with (folder / "host.log").open("wb") as log, ours, theirs:
        control = f"type=unixio,clientfd={theirs.fileno()}"
        swtpm = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={tpm}", "--ctrl", control],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        guest = subprocess.Popen(
            _command(start, variables, console, ours.fileno()),
            pass_fds=[ours.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    deadline = threading.Timer(LIMIT_SECONDS, guest.kill)
    deadline.start()
    try:
        with guest:
            evidence = _ask(guest, challenge)
    finally:
        deadline.cancel()
        guest.kill()
        swtpm.terminate()
        swtpm.wait()
    said = (folder / "host.log").read_bytes() + console.read_bytes()
    assert evidence, f"the guest gives no evidence: {said.decode(errors='replace')[-_TAIL:]}"
    return evidence


def _command(start: Start, variables: Path, console: Path, tpm: int) -> list[str]:
    flash = "if=pflash,format=raw"
    return [
        *(QEMU, "-machine", "q35,smm=off,accel=tcg", "-cpu", "max", "-m", f"{MEMORY >> 20}M"),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-drive", f"{flash},unit=0,readonly=on,file={FIRMWARE}"),
        *("-drive", f"{flash},unit=1,file={variables}"),
        *("-chardev", f"socket,id=tpm,fd={tpm}"),
        *("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"),
        *("-serial", f"file:{console}"),
        *("-chardev", "stdio,id=port,signal=off", "-serial", "chardev:port"),
        *("-kernel", str(start.kernel), "-initrd", str(start.image)),
        *("-append", start.command_line),
    ]


def _ask(guest: subprocess.Popen[bytes], challenge: bytes) -> bytes:
    """Return what the guest answers; empty if it ends before, or has none."""
    assert guest.stdin is not None
    assert guest.stdout is not None
    for line in guest.stdout:
        # The firmware, too, writes to every serial port, and ends no line.
        if line.endswith(READY + b"\n"):
            guest.stdin.write(challenge.hex().encode() + b"\n")
            guest.stdin.flush()
        elif line.startswith(EVIDENCE):
            return base64.b64decode(line.split()[1])
    return b""
