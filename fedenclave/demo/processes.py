"""A group of processes that ends together, whatever happens.

Each child has a name, a log file and a session of its own; leaving the `with` block ends the
children and everything that came of them. Knows nothing of Flower.

Rules:
  * Nothing of the group outlives the block: not after an exception, not after Ctrl-C, SIGTERM
    or SIGHUP. (SIGKILL cannot be caught: then it does.)
  * A child that ends while the group waits for something is an error which shows its log.
  * A second Ctrl-C does not stop the ending; it stops the patience.
"""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from fedenclave.demo import family
from fedenclave.demo.environment import MARKER, child_environment
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.logs import LogReader, last_lines

Ready = Callable[[], bool] | re.Pattern[str]
Handler = Callable[[int, FrameType | None], object] | int | None

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_S = 0.05
# Flower's servers need a second or two to say good-bye; a training step may ignore us.
GRACE_S = 5.0
SECOND_GRACE_S = 1.0
# After SIGKILL only a process stuck in the kernel is left, and waiting longer helps nobody.
KILL_S = 10.0


class Child:
    """One process that the group started."""

    def __init__(self, name: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        """Take what `ProcessGroup.start` made."""
        self.name = name
        self.log = log
        self.process = process
        # Set once its end is expected: a child that is being stopped, or a command that returns.
        self.may_end = False

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def failure(self, what: str, hint: str) -> DeploymentError:
        """Return an error about this child that ends with the last lines of its log."""
        lines = last_lines(self.log)
        shown = "".join(f"\n  {self.name} | {line}" for line in lines) or "\n  (it wrote nothing)"
        return DeploymentError(
            f"{self.name} {what}; the last lines of {self.log}:{shown}", hint=hint
        )


class ProcessGroup:
    """Starts children and, as a context manager, ends them and all that came of them.

    Enter it in the main thread: only there can signals be caught.
    """

    def __init__(self, folder: Path, *, grace_s: float = GRACE_S) -> None:
        """Prepare a group.

        Args:
            folder: Logs go to `folder/logs`, FLWR_HOME is `folder/flwr`.
            grace_s: How long children may take to end of themselves, in seconds.
        """
        self.folder = folder
        self.flower_home = folder / "flwr"
        self.children: list[Child] = []
        self._grace_s = grace_s
        self._marker = secrets.token_hex(16)
        self._known: set[family.Identity] = set()
        self._handlers: dict[signal.Signals, Handler] = {}
        self._signal_while_ending: int | None = None

    def __enter__(self) -> Self:
        """Make the folders and catch the signals that would end us."""
        if not family.is_supported():
            raise DeploymentError(
                f"cannot follow processes on {sys.platform}, want Linux's /proc",
                hint="run it in a Linux machine, virtual machine or container",
            )
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.flower_home.mkdir(parents=True, exist_ok=True)
        # Ctrl-C is a KeyboardInterrupt already.
        self._catch(ENDING_SIGNALS[1:], _leave)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every child and all that came of them."""
        self._catch(ENDING_SIGNALS, self._lose_patience)
        try:
            left = self._end_family()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()
        if kind is not None:
            return
        if self._signal_while_ending is not None:
            signal.raise_signal(self._signal_while_ending)
        if left:
            pids = " ".join(str(process.pid) for process in left)
            raise DeploymentError(
                f"{len(left)} processes did not end after SIGKILL: {pids}",
                hint=f"look at them with: ps -o pid,stat,wchan,cmd -p {pids.replace(' ', ',')}",
            )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start a child whose output goes to `logs/NAME.log`.

        Args:
            name: Unlike any other child's; part of a file name.
            command: Program, found beside our interpreter first, and arguments.
            environment: Added to what every child gets; its descendants inherit it.
            folder: Its working folder, by default the group's.

        Raises:
            DeploymentError: There is no such program.
            ValueError: The name is in use.
        """
        if any(child.name == name for child in self.children):
            raise ValueError(f"child {name!r} was started before")
        log = self.folder / "logs" / f"{name}.log"
        complete = child_environment(flower_home=self.flower_home, marker=self._marker)
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=complete | dict(environment or {}),
                    cwd=folder or self.folder,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise DeploymentError(
                    f"program {command[0]} is not there, {name} needs it",
                    hint=f"install it beside {sys.executable}",
                ) from None
        child = Child(name, log, process)
        self.children.append(child)
        return child

    def wait_until_ready(
        self, child: Child, ready: Ready, *, timeout_s: float, hint: str = ""
    ) -> None:
        """Wait until `ready()` is true, or its pattern stands in a line of the child's log.

        Raises:
            DeploymentError: A child has ended, or the time is over.
        """
        reader = LogReader(child.log)
        deadline = time.monotonic() + timeout_s
        while True:
            if isinstance(ready, re.Pattern):
                done = any(ready.search(line) for line in reader.new_lines())
            else:
                done = ready()
            if done:
                return
            self.check(hint=hint)
            if time.monotonic() > deadline:
                raise child.failure(f"was not ready after {timeout_s:.0f} s", hint)
            time.sleep(POLL_S)

    def follow(
        self, child: Child, on_line: Callable[[str], None], *, timeout_s: float, hint: str = ""
    ) -> int:
        """Hand on each line that a child writes until it ends; return its exit code.

        Raises:
            DeploymentError: Another child has ended, or the time is over.
        """
        child.may_end = True
        reader = LogReader(child.log)
        deadline = time.monotonic() + timeout_s
        while (exit_code := child.exit_code) is None:
            for line in reader.new_lines():
                on_line(line)
            self.check(hint=hint)
            if time.monotonic() > deadline:
                raise child.failure(f"did not end within {timeout_s:.0f} s", hint)
            time.sleep(POLL_S)
        for line in reader.rest():
            on_line(line)
        return exit_code

    def check(self, *, hint: str = "") -> None:
        """Raise if a child has ended that should not have.

        Raises:
            DeploymentError: With the last lines of its log.
        """
        for child in self.children:
            if not child.may_end and (exit_code := child.exit_code) is not None:
                raise child.failure(f"ended early ({_meaning(exit_code)})", hint)

    def stop(self, children: Sequence[Child], *, grace_s: float | None = None) -> None:
        """Ask children to end and wait; those that do not are left for the block's end."""
        for child in children:
            child.may_end = True
            if child.exit_code is None:
                with suppress(ProcessLookupError):
                    child.process.terminate()
        deadline = time.monotonic() + (self._grace_s if grace_s is None else grace_s)
        while any(child.exit_code is None for child in children):
            if time.monotonic() > deadline or self._signal_while_ending is not None:
                return
            time.sleep(POLL_S)

    def _end_family(self) -> set[family.Identity]:
        """End everything; return what could not be ended."""
        # Looked for before the parents go: later their children cannot be told by descent.
        self._find_family()
        # The last started first: a client says good-bye to a server that still listens.
        self.stop(self.children[::-1])
        left = self._send_until_gone(signal.SIGTERM, SECOND_GRACE_S)
        if left:
            left = self._send_until_gone(signal.SIGKILL, KILL_S)
        return left

    def _send_until_gone(self, number: signal.Signals, patience_s: float) -> set[family.Identity]:
        deadline = time.monotonic() + patience_s
        told: set[family.Identity] = set()
        while living := self._find_family():
            # Each is told once, so that a handler is not run again and again; new ones as found.
            family.send_signal(living - told, number)
            told |= living
            hurried = self._signal_while_ending is not None and number != signal.SIGKILL
            if hurried or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        return living

    def _find_family(self) -> set[family.Identity]:
        # Asked for so that those that have ended are reaped and are no zombies of ours.
        for child in self.children:
            child.process.poll()
        sessions = [child.process.pid for child in self.children]
        marker = f"{MARKER}={self._marker}"
        self._known = family.find_family(marker, sessions=sessions, known=self._known)
        return self._known

    def _catch(
        self,
        numbers: Sequence[signal.Signals],
        handler: Callable[[int, FrameType | None], object],
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in numbers:
            before = signal.getsignal(number)
            # Who started us with a signal ignored (nohup) meant it; None is a handler from C.
            if before is None or before is signal.SIG_IGN:
                continue
            self._handlers.setdefault(number, before)
            signal.signal(number, handler)

    def _lose_patience(self, number: int, frame: FrameType | None) -> None:
        self._signal_while_ending = number


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    # The exit code that a shell reports for a process ended by this signal.
    raise SystemExit(128 + number)


def _meaning(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"
