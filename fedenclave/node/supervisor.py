"""Runs a SuperNode and its launcher, starts them again when they die, and ends them together.

Rules:
  * One that ends is started again after 1, 2, 4 ... 60 seconds; one that has run for longer than
    that is well again. A SuperNode that was killed is let in again by its SuperLink in a minute.
  * SIGTERM and Ctrl-C end both, with every app that runs; SIGKILL does, too (programs.py).
  * One folder is one node's (run_lock.py). What a killed run has left on the disk, the next clears.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from fedenclave.client.events import EventFile, Kind, Part
from fedenclave.node.configuration import NodeConfiguration
from fedenclave.node.log_file import LogFile
from fedenclave.node.metrics import serving
from fedenclave.node.programs import Program, close_pipe, environment, programs_of
from fedenclave.node.proxy import proxy_in_force, supernode_environment
from fedenclave.node.run_lock import Run, running_on
from fedenclave.node.service_notice import tell_service_manager
from fedenclave.protocol.errors import printable

GRACE_S = 10.0
_POLL_S = 0.2
_LONGEST_LINE = 500
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = "fedenclave-node-"
# What a SuperNode of Flower's writes of its connection.
_CONNECTED = re.compile(r"SuperNode ID: |Connection successful after ")
_LOST = re.compile(r"Connection attempt failed, retrying|Failed to initialize the connection")


class Supervisor:
    """Keeps programs running until it is told to end."""

    def __init__(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        log: LogFile,
        folder: Path,
        events: EventFile,
    ) -> None:
        """Take what is to run; nothing is started yet."""
        self._programs, self._environment = programs, dict(environment)
        self._log, self._folder, self._events = log, folder, events
        self._ending = threading.Event()
        self._connected: bool | None = None

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
        if program.process is not None and _has_ended(program.process):
            _send(program.process, signal.SIGKILL)  # what it has started and left behind
        code = program.ended(now)
        if code is not None:
            wait = program.due - now
            self._log.write(f"{program.name}: ended ({code}); starts again in {wait:.0f} s")
            self._events.write(Kind.DIED, part=program.name, code=code)
            if program.name is Part.SUPERNODE and self._connected:
                self._is_connected(False)
        if program.process is None and now >= program.due:
            self._start(program, now)

    def _start(self, program: Program, now: float) -> None:
        program.process = subprocess.Popen(
            program.command,
            # Held open by nobody else, and never written to: its end is ours.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self._environment, **program.more_environment},
            cwd=self._folder,
            # Signals of the terminal are ours to pass on, and what a program starts ends with it.
            start_new_session=True,
        )
        program.started = now
        self._log.write(f"{program.name}: started")
        arguments = (program.name, program.process.stdout)
        threading.Thread(target=self._follow, args=arguments, daemon=True).start()

    def _follow(self, name: Part, output: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError), output:
            while line := output.readline(_LONGEST_LINE):
                text = _COLOURS.sub("", line.decode(errors="replace")).strip()
                if text:
                    self._log.write(f"{name}: {printable(text)}")
                if name is Part.SUPERNODE and (_CONNECTED.search(text) or _LOST.search(text)):
                    self._is_connected(_CONNECTED.search(text) is not None)

    def _is_connected(self, connected: bool) -> None:
        if connected is not self._connected:
            self._connected = connected
            self._events.write(Kind.CONNECTED if connected else Kind.DISCONNECTED)
            tell_service_manager(status="connected" if connected else "not connected")

    def _end_all(self) -> None:
        tell_service_manager(state="STOPPING=1", status="ending")
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
            close_pipe(process)
        self._log.write("node: ended")


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a program has, without taking its exit code: so its number stays its own."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Tell a program and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def run_node(configuration: NodeConfiguration, caller: Mapping[str, str] = os.environ) -> None:
    """Run a node until SIGTERM or Ctrl-C. The caller has checked it (check.py).

    Args:
        configuration: the node's.
        caller: the environment that it is started in.

    Raises:
        ConfigurationError: one runs on the folder already, a log or a private folder cannot be
            made, the port of the metrics is taken, or Flower is not installed.
    """
    events = EventFile(configuration.folder)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as name,
        running_on(configuration.folder, Path(name)) as before,
    ):
        _clear_left_by(before)
        log = LogFile(configuration.logs / "node.log")
        proxy = proxy_in_force(configuration.proxy, configuration.address, caller)
        programs = programs_of(configuration, Path(name), supernode_environment(proxy))
        made = environment(Path(name), caller)
        supervisor = Supervisor(programs, made, log, Path(name), events)
        with serving(configuration), _ended_by_signals(supervisor):
            events.write(Kind.STARTED, pid=os.getpid())
            tell_service_manager(state="READY=1", status="not connected yet")
            try:
                supervisor.run()
            finally:
                events.write(Kind.ENDED)


def _clear_left_by(run: Run | None) -> None:
    """Remove the private folder of a run that was killed, if it is one, and ours."""
    if run is None:
        return
    folder = Path(run.folder)
    with contextlib.suppress(OSError):
        facts = folder.lstat()
        made_here = folder.parent == Path(tempfile.gettempdir())
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
        if made_here and ours and folder.name.startswith(_PREFIX):
            shutil.rmtree(folder)


@contextlib.contextmanager
def _ended_by_signals(supervisor: Supervisor) -> Iterator[None]:
    def leave(_number: int, _frame: FrameType | None) -> None:
        supervisor.end()

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
