"""The two programs of a node: how they are started, with which environment, and when again.

Rules:
  * A SuperNode is started in one way only: TLS, its own key, and `--isolation process`, in which it
    starts no program. Its launcher (launcher.py) starts approved apps and nothing else.
  * Both get an environment made here: no setting of Flower's that is left in a shell reaches them,
    and a proxy reaches the SuperNode alone (proxy.py).
  * Both end with their supervisor, also where that one is killed: the SuperNode by what Linux does
    for it (bound.py), the launcher with all that it started, when the pipe to it is closed.

Source: flwr 1.41, flwr/supernode/cli/flower_supernode.py.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from fedenclave.client.events import Part
from fedenclave.client.files import write_whole
from fedenclave.node.bound import bound
from fedenclave.node.check import HOST
from fedenclave.node.configuration import NodeConfiguration
from fedenclave.node.data_access import access_to
from fedenclave.protocol.errors import ConfigurationError

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
# What an interpreter and training need of the owner's own environment.
PASSED_ON = (
    *("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"),
    # Where an app finds the keys of sealed data; none of these holds a secret itself.
    *("FEDENCLAVE_KEYRING", "FEDENCLAVE_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY"),
    # Where a signing key's token and its PIN are: paths, too.
    *("FEDENCLAVE_PKCS11_MODULE", "FEDENCLAVE_PIN_FILE", "SOFTHSM2_CONF"),
)


def environment(folder: Path, caller: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the whole environment of a SuperNode and of its apps.

    Args:
        folder: a private one of this run, for everything that is gone when the run ends.
        caller: where the names in `PASSED_ON` and PATH are taken from.
    """
    kept = {name: caller[name] for name in PASSED_ON if name in caller}
    own_programs = str(Path(sys.executable).parent)
    return kept | {
        "PATH": os.pathsep.join([own_programs, caller.get("PATH", os.defpath)]),
        # A fresh one: apps that other runs have installed are not there to be found.
        "FLWR_HOME": str(folder / "flower"),
        # Also what an app that is killed leaves behind is gone then.
        "TMPDIR": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


def supernode_command(configuration: NodeConfiguration, secret_file: Path) -> list[str]:
    """Return how the SuperNode is started."""
    command = bound([sys.executable, "-P", "-m", "fedenclave.node.supernode"], os.getpid())
    command += ["--superlink", configuration.address]
    command += ["--root-certificates", str(configuration.root_certificate)]
    command += ["--auth-supernode-private-key", str(configuration.node_key)]
    command += ["--host", HOST, "--port", str(configuration.port)]
    command += ["--isolation", "process", "--superexec-auth-secret-file", str(secret_file)]
    command += ["--node-config", configuration.node_config()]
    if configuration.trusted_entities is not None:
        command += ["--trusted-entities", str(configuration.trusted_entities)]
    return command


def launcher_command(configuration: NodeConfiguration, secret_file: Path) -> list[str]:
    """Return how its launcher is started."""
    command = [sys.executable, "-P", "-m", "fedenclave.node.launcher"]
    command += ["--runtime-api-address", f"{HOST}:{configuration.port}"]
    command += ["--client-folder", str(configuration.folder)]
    command += ["--secret-file", str(secret_file), "--ends-with-stdin"]
    if configuration.confinement is not None:
        command += configuration.confinement.wider(access_to(configuration.data)).words()
    if configuration.app_output:
        command += ["--app-output", str(configuration.logs / "app.log")]
    return command


@dataclass(kw_only=True)
class Program:
    """One program that is to run, and when it is started next."""

    name: Part
    command: Sequence[str]
    more_environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait: float = FIRST_WAIT_S
    due: float = field(default=0.0)

    def ended(self, now: float) -> int | None:
        """Return the exit code of one that has ended since, and set when it is due again."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        close_pipe(self.process)
        self.process = None
        if now - self.started > LONGEST_WAIT_S:
            self.wait = FIRST_WAIT_S
        self.due, self.wait = now + self.wait, min(2 * self.wait, LONGEST_WAIT_S)
        return code


def close_pipe(process: subprocess.Popen[bytes]) -> None:
    """Close our end of the pipe to a program that has ended."""
    if process.stdin is not None:
        process.stdin.close()


def programs_of(
    configuration: NodeConfiguration, folder: Path, proxy: Mapping[str, str]
) -> list[Program]:
    """Return the two programs, and write the secret that they share.

    Args:
        configuration: of the node.
        folder: a private one of this run.
        proxy: the SuperNode's environment variables for a proxy.

    Raises:
        ConfigurationError: the secret cannot be written, or Flower is not installed.
    """
    if find_spec("flwr") is None:
        raise ConfigurationError("flwr is not installed", hint="pip install 'fedenclave[flower]'")
    secret = folder / "launcher-secret"
    write_whole(secret, secrets.token_bytes(32), mode=0o600)
    supernode, launcher = (f(configuration, secret) for f in (supernode_command, launcher_command))
    return [
        Program(name=Part.SUPERNODE, command=supernode, more_environment=proxy),
        Program(name=Part.LAUNCHER, command=launcher),
    ]
