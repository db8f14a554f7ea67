"""Runs a SuperNode and its launcher, starts them again when they die, and ends them together.

Rules:
  * A SuperNode is started in one way only: TLS, its own key, and `--isolation process`, in which it
    starts no program. Its launcher (launcher.py) starts approved apps and nothing else.
  * Both get an environment made here: no setting of Flower's that is left in a shell reaches them.
  * One that ends is started again after 1, 2, 4 ... 60 seconds; one that has run for longer than
    that is well again. A SuperNode that was killed is let in again by its SuperLink in a minute.
  * SIGTERM and Ctrl-C end both, with every app that runs.

Source: flwr 1.41, flwr/supernode/cli/flower_supernode.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from fedenclave.client.files import write_whole
from fedenclave.node.check import HOST
from fedenclave.node.configuration import NodeConfiguration
from fedenclave.node.log_file import LogFile
from fedenclave.protocol.errors import ConfigurationError, printable

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
GRACE_S = 10.0
_POLL_S = 0.2
_LONGEST_LINE = 500
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What an interpreter and training need of the owner's own environment.
PASSED_ON = (
    *("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"),
    # Where a signing key's token and its PIN are: paths, and no secrets.
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
    command = [str(Path(sys.executable).with_name("flower-supernode"))]
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
    command += ["--secret-file", str(secret_file), "--parent-pid", str(os.getpid())]
    if configuration.app_output:
        command += ["--app-output", str(configuration.logs / "app.log")]
    return command


@dataclass(kw_only=True)
class Program:
    """One program that is to run, and when it is started next."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait: float = FIRST_WAIT_S
    due: float = field(default=0.0)

    def ended(self, now: float) -> int | None:
        """Return the exit code of one that has ended since, and set when it is due again."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.process = None
        if now - self.started > LONGEST_WAIT_S:
            self.wait = FIRST_WAIT_S
        self.due, self.wait = now + self.wait, min(2 * self.wait, LONGEST_WAIT_S)
        return code


class Supervisor:
    """Keeps programs running until it is told to end."""

    def __init__(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        log: LogFile,
        folder: Path,
    ) -> None:
        """Take what is to run; nothing is started yet."""
        self._programs, self._environment = programs, dict(environment)
        self._log, self._folder = log, folder
        self._ending = threading.Event()

    def end(self) -> None:
        """Let `run` return, from a signal's handler or another thread."""
        self._ending.set()

    def run(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep everything running until `end`."""
        try:
            while not self._ending.is_set():
                for program in self._programs:
                    self._keep(program, clock())
                self._ending.wait(_POLL_S)
        finally:
            self._end_all()

    def _keep(self, program: Program, now: float) -> None:
        code = program.ended(now)
        if code is not None:
            wait = program.due - now
            self._log.write(f"{program.name}: ended ({code}); starts again in {wait:.0f} s")
        if program.process is None and now >= program.due:
            self._start(program, now)

    def _start(self, program: Program, now: float) -> None:
        program.process = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=self._folder,
            # Signals of the terminal are ours to pass on, and what a program starts ends with it.
            start_new_session=True,
        )
        program.started = now
        self._log.write(f"{program.name}: started")
        arguments = (program.name, program.process.stdout)
        threading.Thread(target=self._follow, args=arguments, daemon=True).start()

    def _follow(self, name: str, output: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError), output:
            while line := output.readline(_LONGEST_LINE):
                text = _COLOURS.sub("", line.decode(errors="replace")).strip()
                if text:
                    self._log.write(f"{name}: {printable(text)}")

    def _end_all(self) -> None:
        running = [each.process for each in self._programs if each.process is not None]
        for process in running:
            _send(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for process in running:
            _send(process, signal.SIGKILL)
            process.wait()
        self._log.write("node: ended")


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Tell a program and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def run_node(configuration: NodeConfiguration) -> None:
    """Run a node until SIGTERM or Ctrl-C. The caller has checked it (check.py).

    Raises:
        ConfigurationError: a log or a private folder cannot be made, or Flower is not installed.
    """
    log = LogFile(configuration.logs / "node.log")
    with tempfile.TemporaryDirectory(prefix="fedenclave-node-") as name:
        folder = Path(name)
        secret = folder / "launcher-secret"
        write_whole(secret, secrets.token_bytes(32), mode=0o600)
        programs = [
            Program(name="supernode", command=supernode_command(configuration, secret)),
            Program(name="launcher", command=launcher_command(configuration, secret)),
        ]
        if not Path(programs[0].command[0]).exists():
            raise ConfigurationError(
                f"{programs[0].command[0]} is not there", hint="pip install 'fedenclave[flower]'"
            )
        supervisor = Supervisor(programs, environment(folder), log, folder)

        def leave(_number: int, _frame: FrameType | None) -> None:
            supervisor.end()

        before = {
            number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            supervisor.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
