"""The enclave's sealed state on this host's disk: one file a round, which grows by each transition.

Rules:
  * What the enclave gives is on the disk before anybody learns what the request did.
  * A segment appears whole: written beside, flushed, renamed, the folder flushed. A transition is
    appended and flushed; one that was cut off by a crash is one that nobody has learned of.
  * The segment before the newest one is kept; older ones, whose keys nobody needs, are deleted.
  * Where the disk refuses, nothing more goes to the enclave: what it did last, nobody knows of.
    Started again it is back where the disk is.
"""

from __future__ import annotations

import os
from pathlib import Path

from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.protocol.segment import begins_segment

_PREFIX, _SUFFIX = "segment-", ".fes"
_KEPT = 2
_RESERVE = 4 << 20
"""Asked for before every request, so that a disk that fills up refuses before anything happens."""


class StateUnwritten(FedEnclaveError):
    """The disk does not take the enclave's state. What was asked for last has not happened."""


class JournalFiles:
    """The segments in a folder."""

    def __init__(self, folder: Path, *, flushed: bool) -> None:
        """Use `folder`, made if missing.

        Args:
            folder: for nothing else.
            flushed: whether to wait until the disk has what is written. Without, a crash of this
                process loses nothing, and a power failure may.

        Raises:
            OSError: it cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._flushed = folder, flushed
        self._descriptor = -1
        self._broken = ""
        self._numbers = sorted(filter(None, map(_number, folder.glob(f"{_PREFIX}*{_SUFFIX}"))))

    def newest(self) -> Path | None:
        """Return the newest segment's file, or None where there is no state yet."""
        return self._path(self._numbers[-1]) if self._numbers else None

    def _path(self, number: int) -> Path:
        return self._folder / f"{_PREFIX}{number:08d}{_SUFFIX}"

    def go_on(self, size: int) -> None:
        """Append to the newest segment, of which `size` bytes count.

        Raises:
            OSError: it cannot be written.
        """
        self._descriptor = os.open(self._path(self._numbers[-1]), os.O_WRONLY | os.O_CLOEXEC)
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def check(self) -> None:
        """Refuse to ask the enclave for anything while its state cannot be written.

        Raises:
            StateUnwritten: it could not be, or there is no room for it.
        """
        if self._broken:
            raise self._unwritten(self._broken)
        if (room := _room(self._folder)) < _RESERVE:
            raise StateUnwritten(
                f"there are {room} bytes of room for the enclave's state, want {_RESERVE}",
                hint="free disk space and try again: nothing has changed",
            )

    def write(self, transition: bytes) -> None:
        """Write what the enclave gave, and return once it is on the disk.

        Raises:
            StateUnwritten: the disk refuses; nothing more can be asked of the enclave.
        """
        try:
            if begins_segment(transition):
                self._begin(transition)
            else:
                _write_all(self._descriptor, transition)
                if self._flushed:
                    os.fdatasync(self._descriptor)
        except OSError as error:
            self._broken = error.strerror or str(error)
            raise self._unwritten(self._broken) from error

    @staticmethod
    def _unwritten(reason: str) -> StateUnwritten:
        return StateUnwritten(
            f"the enclave's state cannot be written: {reason}",
            hint="free disk space and start the aggregator again: it goes on where its disk is",
        )

    def _begin(self, segment: bytes) -> None:
        number = self._numbers[-1] + 1 if self._numbers else 1
        path = self._path(number)
        partial = path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, segment)
            if self._flushed:
                os.fsync(descriptor)
            partial.replace(path)
            if self._flushed:
                flush_folder(self._folder)
        except OSError:
            os.close(descriptor)
            raise
        self.close()
        self._descriptor = descriptor
        self._numbers.append(number)
        while len(self._numbers) > _KEPT:
            self._path(self._numbers.pop(0)).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the newest segment's file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def flush_file(path: Path) -> None:
    """Return once the disk has what is in a file.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Return once the disk has the names of the folder's files.

    Raises:
        OSError: the disk refuses.
    """
    flush_file(folder)


def _number(path: Path) -> int:
    digits = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def _room(folder: Path) -> int:
    """Return how many bytes this user can still write there."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
