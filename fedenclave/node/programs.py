"""The two programs of a node: how they are started, with which environment, and when again.

Rules:
  * A SuperNode is started in one way only: TLS, its own key, and `--isolation process`, in which it
    starts no program. Its launcher (launcher.py) starts approved apps and nothing else.
  * The SuperNode speaks to its launcher and to apps by TLS, under a key of this start
    (run_folder.py). Its launcher runs only while it does, and is started anew with it.
  * Nothing of [app] and [data] is in an argument: every user can read those (own_settings.py).
  * Both get an environment made here: no setting of Flower's that is left in a shell reaches them,
    and a proxy reaches the SuperNode alone (proxy.py).
  * Both end with their supervisor, also where that one is killed: the SuperNode by what Linux does
    for it (bound.py), the launcher with all that it started, when the pipe to it is closed.

Source: flwr 1.41, flwr/supernode/cli/flower_supernode.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from fedenclave.client.events import Part
from fedenclave.node.bound import bound
from fedenclave.node.configuration import HOST, NodeConfiguration
from fedenclave.node.data_access import access_to
from fedenclave.node.process_limits import memory_of_machine
from fedenclave.node.run_folder import CERTIFICATE, KEY, SECRET
from fedenclave.node.supernode import FOLDER_VARIABLE
from fedenclave.protocol.errors import ConfigurationError

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
# Idle it maps 750 MB; 200 MB of a model that passed through made it 480 MB more.
LEAST_MEMORY = 4 << 30
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


def supernode_command(configuration: NodeConfiguration) -> list[str]:
    """Return how the SuperNode is started, in its private folder."""
    program = [sys.executable, "-P", "-m", "fedenclave.node.supernode"]
    command = bound(program, os.getpid(), memory=_memory(configuration))
    command += ["--superlink", configuration.address]
    command += ["--root-certificates", str(configuration.root_certificate)]
    command += ["--auth-supernode-private-key", str(configuration.node_key)]
    command += ["--host", HOST, "--port", str(configuration.port)]
    command += ["--isolation", "process", "--superexec-auth-secret-file", SECRET]
    # The certificate is its own authority.
    command += ["--ssl-certfile", CERTIFICATE, "--ssl-keyfile", KEY]
    command += ["--ssl-ca-certfile", CERTIFICATE]
    if configuration.trusted_entities is not None:
        command += ["--trusted-entities", str(configuration.trusted_entities)]
    return command


def _memory(configuration: NodeConfiguration) -> int:
    """Return how many bytes a SuperNode may map: half of what there is, if nothing else is said."""
    if configuration.supernode_memory is not None:
        return configuration.supernode_memory
    return max(LEAST_MEMORY, memory_of_machine() // 2)


def launcher_command(configuration: NodeConfiguration) -> list[str]:
    """Return how its launcher is started, in the same folder."""
    command = [sys.executable, "-P", "-m", "fedenclave.node.launcher"]
    command += ["--runtime-api-address", f"{HOST}:{configuration.port}"]
    command += ["--client-folder", str(configuration.folder)]
    command += ["--secret-file", SECRET, "--certificate", CERTIFICATE, "--ends-with-stdin"]
    if configuration.confinement is not None:
        command += configuration.confinement.wider(access_to(configuration.data)).words()
    if configuration.app_output:
        command += ["--app-output", str(configuration.logs / "app.log")]
    return command


@dataclass(kw_only=True)
class Program:
    """One program that is to run, and when it is started next.

    Attributes:
        needs: another one, without which this one does not run; None for none.
    """

    name: Part
    command: Sequence[str]
    more_environment: Mapping[str, str] = field(default_factory=dict)
    needs: Program | None = None
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
        self.put_off(now)
        return code

    def put_off(self, now: float) -> None:
        """Set when it is due again: later each time, and soon after a good run."""
        if now - self.started > LONGEST_WAIT_S:
            self.wait = FIRST_WAIT_S
        self.due, self.wait = now + self.wait, min(2 * self.wait, LONGEST_WAIT_S)


def close_pipe(process: subprocess.Popen[bytes]) -> None:
    """Close our end of the pipe to a program that has ended."""
    if process.stdin is not None:
        process.stdin.close()


def programs_of(configuration: NodeConfiguration, proxy: Mapping[str, str]) -> list[Program]:
    """Return the two programs.

    Args:
        configuration: of the node.
        proxy: the SuperNode's environment variables for a proxy.

    Raises:
        ConfigurationError: Flower is not installed.
    """
    if find_spec("flwr") is None:
        raise ConfigurationError("flwr is not installed", hint="pip install 'fedenclave[flower]'")
    supernode = Program(
        name=Part.SUPERNODE,
        command=supernode_command(configuration),
        more_environment={**proxy, FOLDER_VARIABLE: str(configuration.folder)},
    )
    launcher = Program(name=Part.LAUNCHER, command=launcher_command(configuration), needs=supernode)
    return [supernode, launcher]
