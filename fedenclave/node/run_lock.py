"""Whether a node runs on a folder: who holds the lock on `run.lock`, and since when.

Rules:
  * A node that runs holds the lock, and its programs do not: however it ends, the lock ends too.
  * What the file says of a process counts only while the lock is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fedenclave.protocol.errors import ConfigurationError

FILE = "run.lock"
_PATIENCE_S = 1.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A node's run: the supervisor's process, when it began (Unix seconds), its private folder."""

    pid: int
    since: int
    folder: str

    def to_bytes(self) -> bytes:
        """Return the lock file's content."""
        return json.dumps({"pid": self.pid, "since": self.since, "folder": self.folder}).encode()


class Lock:
    """The lock, held. `before` is what a run that was killed has left in the file, if one was."""

    def __init__(self, file: IO[bytes], path: Path, before: Run | None) -> None:
        """Take the file that is locked."""
        self._file, self._path, self._since = file, path, int(time.time())
        self.before = before

    def say(self, private_folder: Path) -> None:
        """Say in the file who holds it, and which folder the next run is to clear.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        run = Run(pid=os.getpid(), since=self._since, folder=str(private_folder))
        try:
            self._file.seek(0)
            self._file.write(run.to_bytes())
            self._file.truncate()
            self._file.flush()
        except OSError as error:
            raise ConfigurationError(f"cannot write {self._path}: {error.strerror}") from error


@contextlib.contextmanager
def running_on(client_folder: Path) -> Iterator[Lock]:
    """Hold the lock.

    Args:
        client_folder: the node's.

    Raises:
        ConfigurationError: another node runs on the folder, or the file cannot be written.
    """
    path = client_folder / FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror}", hint="may this user write there?"
        ) from error
    with os.fdopen(descriptor, "rb+") as file:
        before = _read(file.read())
        if not _locked(descriptor):
            who = f", process {before.pid}" if before is not None else ""
            raise ConfigurationError(
                f"a node runs on {client_folder} already{who}",
                hint="one folder is one node's; end the other one first",
            )
        lock = Lock(file, path, before)
        lock.say(Path(before.folder) if before is not None else Path())
        yield lock
        with contextlib.suppress(OSError):
            file.truncate(0)  # ended in good order: nothing is left to clear


def current_run(client_folder: Path) -> Run | None:
    """Return the run on a folder; None where no node runs there.

    Raises:
        ConfigurationError: the lock cannot be looked at.
    """
    path = client_folder / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}", hint="may this user read it?"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        try:
            # Shared, and for this moment only: whoever starts a node meanwhile tries again.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(file.read()) or Run(pid=0, since=0, folder="")
    return None


def _locked(descriptor: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def _read(data: bytes) -> Run | None:
    try:
        value = json.loads(data)
        return Run(pid=int(value["pid"]), since=int(value["since"]), folder=str(value["folder"]))
    except (ValueError, TypeError, KeyError):
        return None
