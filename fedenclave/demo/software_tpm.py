"""A TPM 2.0 that is a program (swtpm), and its maker: made, switched on, restarted, ended.

Not a secure element. Whoever runs the program owns its keys and registers: it proves that the
procedure works, and nothing about a platform.

Rules:
  * Every process belongs to the demonstration's group, which ends it whatever happens.
  * State, log, certificates and socket lie in one folder that only this user can enter.
  * Registers are zero after each start; keys and counters stay.

Source: swtpm(8), swtpm_setup(8), swtpm-localca(8), of swtpm 0.7.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from cryptography import x509

from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.processes import Child, ProcessGroup
from fedenclave.protocol.errors import ConfigurationError

PROGRAMS = ("swtpm", "swtpm_setup", "swtpm_localca")
MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path: 108 with the zero at its end (unix(7))."""

_SECONDS = 60.0
_HINT = (
    "the machine may be busy, or a security module (AppArmor) keeps swtpm out of this folder: try "
    "--folder with one in your home or in /tmp"
)

# Paths are relative: swtpm's options are cut apart at commas, and a folder may have one.
_SETUP = """\
create_certs_tool = {localca}
create_certs_tool_config = localca.conf
create_certs_tool_options = localca.options
active_pcr_banks = sha256
"""
_LOCALCA = """\
statedir = maker
signingkey = maker/signkey.pem
issuercert = maker/issuercert.pem
certserial = maker/certserial
"""
# The root's name is swtpm_localca's own choice.
_ROOT, _ISSUER = "swtpm-localca-rootca-cert.pem", "issuercert.pem"


class SoftwareTpm:
    """One TPM. Make it, switch it on, restart it; the group that it was made in ends it."""

    def __init__(self, folder: Path) -> None:
        """Check that it can be made; nothing is changed yet.

        Args:
            folder: absolute; for everything that it leaves.

        Raises:
            ConfigurationError: swtpm is not installed, or the folder's path is too long.
        """
        absent = [name for name in PROGRAMS if shutil.which(name) is None]
        if absent:
            raise ConfigurationError(
                f"a software tpm needs {', '.join(absent)}, which is not installed",
                hint="apt-get install swtpm swtpm-tools",
            )
        self.folder, self.socket = folder, folder / "socket"
        length = len(os.fsencode(self.socket))
        if length > MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"the tpm's socket {self.socket} would have a path of {length} bytes, want at most "
                f"{MAX_SOCKET_PATH}",
                hint="choose a folder with a shorter path: --folder",
            )
        self._starts = 0
        self._running: Child | None = None

    def make(self, group: ProcessGroup) -> None:
        """Make it, as a vendor does: seeds, endorsement key, certificates by the vendor's root.

        Raises:
            DeploymentError: swtpm's programs cannot.
        """
        self.folder.mkdir(mode=0o700)
        for name in ("state", "maker"):
            (self.folder / name).mkdir()
        localca = shutil.which("swtpm_localca")
        (self.folder / "setup.conf").write_text(_SETUP.format(localca=localca))
        (self.folder / "localca.conf").write_text(_LOCALCA)
        (self.folder / "localca.options").write_text("")
        command = ["swtpm_setup", "--tpm2", "--tpmstate", "state", "--config", "setup.conf"]
        command += ["--create-ek-cert", "--lock-nvram"]
        if os.geteuid() == 0:
            # Otherwise it becomes the user tss, who cannot enter this folder.
            command += ["--runas", "root"]
        child = group.start("software-tpm-setup", command, folder=self.folder)
        exit_code = group.follow(child, lambda line: None, timeout_s=_SECONDS, hint=_HINT)
        if exit_code != 0:
            raise child.failure(f"made no tpm (exit code {exit_code})", _HINT)

    def switch_on(self, group: ProcessGroup) -> None:
        """Start it: its registers are zero.

        Raises:
            DeploymentError: it does not start.
        """
        self._starts += 1
        self.socket.unlink(missing_ok=True)
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", "dir=state"]
        command += ["--server", "type=unixio,path=socket"]
        command += ["--flags", "not-need-init,startup-clear"]
        self._running = group.start(f"software-tpm-{self._starts}", command, folder=self.folder)
        group.wait_until_ready(self._running, self._answers, timeout_s=_SECONDS, hint=_HINT)

    def restart(self, group: ProcessGroup) -> None:
        """Switch it off and on, as a machine that starts anew does to its TPM.

        Raises:
            DeploymentError: it does not end, or does not start again.
        """
        if self._running is not None:
            group.stop([self._running])
            if self._running.exit_code is None:
                raise self._running.failure("does not end", _HINT)
        self.switch_on(group)

    @property
    def tee(self) -> str:
        """What an aggregator's configuration calls it."""
        return f"tpm:{self.socket}"

    @property
    def root(self) -> x509.Certificate:
        """The root certificate of its maker, which a real vendor publishes."""
        return self._certificate(_ROOT)

    @property
    def issuer(self) -> x509.Certificate:
        """The certificate between the root and the endorsement key's."""
        return self._certificate(_ISSUER)

    def _certificate(self, name: str) -> x509.Certificate:
        path = self.folder / "maker" / name
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DeploymentError(
                f"swtpm_localca left no certificate {path}: {error}",
                hint="want swtpm 0.7 or later: swtpm --version",
            ) from error

    def _answers(self) -> bool:
        """Say whether it takes a connection."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
            except OSError:
                return False
        return True
