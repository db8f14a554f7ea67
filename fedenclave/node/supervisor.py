"""Runs a SuperNode and its launcher, starts them again when they die, and ends them together.

Rules:
  * One that ends is started again after 1, 2, 4 ... 60 seconds; one that has run for longer than
    that is well again. A SuperNode that was killed is let in again by its SuperLink in a minute.
  * The launcher ends with the SuperNode, and starts after it: each SuperNode has a private folder
    of its own, with the key that its launcher and apps know it by (run_folder.py).
  * What cannot be started now (no memory, a full disk) is tried again as what has died.
  * A program's lines are kept up to a number an hour (line_limit.py).
  * SIGTERM and Ctrl-C end both, with every app that runs; SIGKILL does, too (programs.py).
  * One folder is one node's (run_lock.py). What a killed run has left on the disk, the next clears.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

from fedenclave.client.events import EventFile, Kind, Part
from fedenclave.node.configuration import NodeConfiguration
from fedenclave.node.line_limit import LineLimit
from fedenclave.node.log_file import LogFile
from fedenclave.node.metrics import serving
from fedenclave.node.programs import Program, close_pipe, environment, programs_of
from fedenclave.node.proxy import proxy_in_force, supernode_environment
from fedenclave.node.run_folder import RunFolder, clear_left_behind
from fedenclave.node.run_lock import running_on
from fedenclave.node.service_notice import tell_service_manager
from fedenclave.protocol.errors import FedEnclaveError, printable

GRACE_S = 10.0
_POLL_S = 0.2
_LONGEST_LINE = 500
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What a SuperNode of Flower's writes of its connection, at the beginning of a line: behind it may
# stand what a SuperLink wrote.
_LEVEL = r"[A-Z]+ *: +"
_CONNECTED = re.compile(_LEVEL + r"(?:SuperNode ID: |Connection successful after )")
_LOST = re.compile(
    _LEVEL
    + r"(?:Connection attempt failed, retrying|Exit Code: \d+ Failed to initialize the connection)"
)


class Supervisor:
    """Keeps programs running until it is told to end."""

    def __init__(
        self,
        programs: Sequence[Program],
        environment: Callable[[Path], Mapping[str, str]],
        log: LogFile,
        folder: RunFolder,
        events: EventFile,
    ) -> None:
        """Take what is to run; nothing is started yet.

        Args:
            programs: each behind the one that it needs.
            environment: the programs' environment, when they are given this private folder.
            log: takes what they write, and what becomes of them.
            folder: makes private folders.
            events: takes what becomes of them, for the owner.
        """
        self._programs, self._environment = programs, environment
        self._log, self._folder, self._events = log, folder, events
        # Of all that a program writes, however often it is started anew.
        self._limits = {each.name: LineLimit() for each in programs}
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
            self._say_when(program, f"ended ({code})", now)
            self._events.write(Kind.DIED, part=program.name, code=code)
            if program.name is Part.SUPERNODE and self._connected:
                self._is_connected(False)
        if program.needs is None:
            if program.process is not None and not self._folder.is_there():
                self._start_anew(program, now)
        elif program.needs.process is None:
            if program.process is not None:
                self._stop([program])
                self._log.write(f"{program.name}: ended with the {program.needs.name}")
            return
        elif program.process is None and not self._folder.is_whole():
            # What it lacks is in the next folder, which the other one's start makes.
            self._start_anew(program.needs, now)
            return
        if program.process is None and now >= program.due:
            self._start(program, now)

    def _start(self, program: Program, now: float) -> None:
        program.started = now
        try:
            if program.needs is None:
                self._folder.renew()
            program.process = self._popen(program)
            arguments = (program.name, program.process.stdout)
            threading.Thread(target=self._follow, args=arguments, daemon=True).start()
        except (FedEnclaveError, OSError, RuntimeError) as error:
            # No process or no thread more, a full disk: it may be otherwise soon.
            self._stop([program])
            program.put_off(now)
            self._say_when(program, f"cannot be started: {error}", now)
        else:
            self._log.write(f"{program.name}: started")

    def _start_anew(self, program: Program, now: float) -> None:
        self._log.write("node: files in its private folder are gone; another folder is made")
        self._stop([program])
        program.put_off(now)
        self._say_when(program, "ended", now)

    def _say_when(self, program: Program, why: str, now: float) -> None:
        self._log.write(f"{program.name}: {why}; starts again in {program.due - now:.0f} s")

    def _popen(self, program: Program) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            program.command,
            # Held open by nobody else, and never written to: its end is ours.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self._environment(self._folder.path), **program.more_environment},
            cwd=self._folder.path,
            # Signals of the terminal are ours to pass on, and what a program starts ends with it.
            start_new_session=True,
        )

    def _follow(self, name: Part, output: IO[bytes]) -> None:
        limit = self._limits[name]
        with contextlib.suppress(ValueError, OSError), output:
            while line := output.readline(_LONGEST_LINE):
                text = _COLOURS.sub("", line.decode(errors="replace")).strip()
                if text and limit.admit():
                    if passed_over := limit.take_passed_over():
                        self._log.write(f"{name}: {passed_over} lines were not kept: too many")
                    self._log.write(f"{name}: {printable(text)}")
                if name is Part.SUPERNODE and (_CONNECTED.match(text) or _LOST.match(text)):
                    self._is_connected(_CONNECTED.match(text) is not None)

    def _is_connected(self, connected: bool) -> None:
        if connected is not self._connected:
            self._connected = connected
            self._events.write(Kind.CONNECTED if connected else Kind.DISCONNECTED)
            tell_service_manager(status="connected" if connected else "not connected")

    def _end_all(self) -> None:
        tell_service_manager(state="STOPPING=1", status="ending")
        self._stop(self._programs)
        self._folder.remove()
        self._log.write("node: ended")

    def _stop(self, programs: Sequence[Program]) -> None:
        """End those of them that run, with all that they have started."""
        running = [each.process for each in programs if each.process is not None]
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
        for program in programs:
            program.process = None


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
    with running_on(configuration.folder) as lock:
        if lock.before is not None:
            clear_left_behind(Path(lock.before.folder))
        log = LogFile(configuration.logs / "node.log")
        proxy = proxy_in_force(configuration.proxy, configuration.address, caller)
        programs = programs_of(configuration, supernode_environment(proxy))
        made = partial(environment, caller=caller)
        supervisor = Supervisor(programs, made, log, RunFolder(lock.say), events)
        with serving(configuration), _ended_by_signals(supervisor):
            events.write(Kind.STARTED, pid=os.getpid())
            tell_service_manager(state="READY=1", status="not connected yet")
            try:
                supervisor.run()
            finally:
                events.write(Kind.ENDED)


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
