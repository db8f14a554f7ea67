"""A software TPM on a Unix socket, made by a maker with a certificate authority of its own.

It is a real TPM 2.0 but for its being software: whoever runs it owns its keys. It proves that the
protocol is spoken rightly, and nothing about a platform.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

PROGRAMS = ("swtpm", "swtpm_setup", "swtpm_localca")
_START_SECONDS = 10.0
_CONFIGURATION = """\
create_certs_tool = {tool}
create_certs_tool_config = {folder}/localca.conf
create_certs_tool_options = {folder}/localca.options
active_pcr_banks = sha256
"""
_AUTHORITY = """\
statedir = {folder}/ca
signingkey = {folder}/ca/signkey.pem
issuercert = {folder}/ca/issuercert.pem
certserial = {folder}/ca/certserial
"""
_PLATFORM = """\
--platform-manufacturer Nobody
--platform-version 1
--platform-model Test
"""


def missing(*programs: str) -> str:
    """Return why a test cannot run here; empty if it can."""
    absent = [program for program in programs or PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(absent)} not installed (packages swtpm, swtpm-tools, tpm2-tools)" * bool(
        absent
    )


class Maker:
    """A maker of TPMs: the authority's folder, and how to make one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ca").mkdir()
        tool = shutil.which("swtpm_localca")
        (folder / "setup.conf").write_text(_CONFIGURATION.format(folder=folder, tool=tool))
        (folder / "localca.conf").write_text(_AUTHORITY.format(folder=folder))
        (folder / "localca.options").write_text(_PLATFORM)

    def make(self, state: Path) -> Path:
        """Write a new TPM's state, with endorsement key and certificates, into a new folder."""
        state.mkdir()
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(state), "--create-ek-cert"]
        command += ["--config", str(self.folder / "setup.conf"), "--lock-nvram", "--overwrite"]
        if os.geteuid() == 0:
            # By default it becomes another user, who cannot reach these folders.
            command += ["--runas", "root"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return state

    def _certificate(self, name: str) -> bytes:
        pem = (self.folder / "ca" / name).read_bytes()
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)

    @property
    def root(self) -> bytes:
        """DER of the authority's root certificate."""
        return self._certificate("swtpm-localca-rootca-cert.pem")

    @property
    def issuer(self) -> bytes:
        """DER of the certificate between the root and endorsement certificates."""
        return self._certificate("issuercert.pem")


class SoftwareTpm:
    """A TPM that can be switched on and off; its non-volatile state lies in `state`."""

    def __init__(self, state: Path) -> None:
        self.state = state
        # A socket's path has at most 107 bytes, which a test's own folder may exceed.
        self._folder = tempfile.TemporaryDirectory(prefix="tpm")
        self.socket = Path(self._folder.name, "tpm")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> str:
        """What an enclave is told."""
        return str(self.socket)

    def switch_on(self) -> None:
        """Start it; its registers are zero."""
        with (self.state.parent / "swtpm.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "swtpm",
                    "socket",
                    "--tpm2",
                    "--tpmstate",
                    f"dir={self.state}",
                    "--server",
                    f"type=unixio,path={self.socket}",
                    "--flags",
                    "not-need-init,startup-clear",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, "swtpm ended at once"
            assert time.monotonic() < until, "swtpm does not start"
            time.sleep(0.005)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self.path)
            except OSError:
                return False
        return True

    def switch_off(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def reboot(self) -> None:
        """Switch off and on: registers and everything loaded are gone, counters and seeds stay."""
        self.switch_off()
        self.switch_on()

    def close(self) -> None:
        """End it for good."""
        self.switch_off()
        self._folder.cleanup()
