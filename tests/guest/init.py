#!/usr/bin/python3 -IB
"""The guest's /init: take a challenge from the second serial port, answer with evidence.

It is the only program in the image besides the enclave; there is no shell, no network and no
console to log in at. Once it has answered, or when anything fails, it switches the guest off.

The challenge is not on the kernel's command line because that is measured, and must not differ.
"""

import base64
import ctypes
import os
import subprocess
import sys
import tty

PORT = "/dev/ttyS1"
READY, EVIDENCE, NONE = b"ready", b"evidence", b"none"
"""What the first word of a line to the host says."""

MOUNTS = (
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("securityfs", "/sys/kernel/security"),  # the firmware's event log
)
_POWER_OFF = 0x4321FEDC

# As fedenclave/host/enclave_process.py starts it.
COMMAND = ["/usr/bin/python3", "-P", "-s", "-X", f"pycache_prefix={os.devnull}"]
COMMAND += ["-m", "fedenclave.enclave", "--collect", "tpm"]
ENVIRONMENT = {"PATH": "/usr/bin", "LANG": "C.UTF-8", "PYTHONPATH": "/code:/libraries"}


def main() -> None:
    """Serve one request."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for kind, folder in MOUNTS:
            if libc.mount(b"none", folder.encode(), kind.encode(), 0, None):
                raise OSError(ctypes.get_errno(), f"cannot mount {folder}")
        serve()
    finally:
        sys.stderr.flush()
        libc.reboot(_POWER_OFF)


def serve() -> None:
    """Answer one line with another."""
    descriptor = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    with os.fdopen(descriptor, "r+b", buffering=0) as port:
        port.write(READY + b"\n")
        challenge = b""
        while not challenge.endswith(b"\n"):
            challenge += port.read(1)
        command = [*COMMAND, challenge.decode().strip()]
        done = subprocess.run(command, env=ENVIRONMENT, cwd="/", capture_output=True, check=False)
        sys.stderr.write(done.stderr.decode())
        word = EVIDENCE if done.returncode == 0 else NONE
        port.write(word + b" " + base64.b64encode(done.stdout) + b"\n")


if __name__ == "__main__":
    main()
