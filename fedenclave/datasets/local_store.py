"""A dataset in a folder of this machine: synced before it counts, read at offsets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from fedenclave.datasets import local_lock
from fedenclave.datasets.errors import DatasetExists, DatasetMissing, StorageFailed
from fedenclave.keys.durable import sync_folder, why, write_whole
from fedenclave.keys.regular_file import open_regular

_MODE = 0o600
_CLOSED = -1


class LocalReader:
    """A file, read at offsets."""

    def __init__(self, path: Path) -> None:
        """Open it. OSError where that cannot be done."""
        self._path = path
        self._descriptor = open_regular(path, follow=False)
        self.size = os.fstat(self._descriptor).st_size

    def read_into(self, offset: int, into: memoryview) -> None:
        """Fill `into`. See `RangeReader`."""
        done = 0
        try:
            while done < len(into):
                count = os.preadv(self._descriptor, [into[done:]], offset + done)
                if count == 0:
                    raise StorageFailed(
                        f"{self._path} ends at byte {offset + done}, want {self.size}: it was cut "
                        "off while it was read",
                        hint="put it back from a backup",
                    )
                done += count
        except OSError as error:
            raise StorageFailed(
                f"cannot read {self._path} at byte {offset}: {why(error)}",
                hint="is the disk failing, or was it taken away?",
            ) from error

    def close(self) -> None:
        """Close it; once is enough."""
        if self._descriptor != _CLOSED:
            os.close(self._descriptor)
            self._descriptor = _CLOSED

    def __del__(self) -> None:
        # One whose opening failed has no descriptor.
        with contextlib.suppress(AttributeError, OSError):
            self.close()


class LocalSink:
    """A file that is being written."""

    def __init__(self, path: Path) -> None:
        """Make it. OSError where that cannot be done."""
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, _MODE)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. See `Sink`."""
        view, done = memoryview(data), 0
        try:
            while done < len(view):
                done += os.write(self._descriptor, view[done:])
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def commit(self) -> None:
        """Make it durable. See `Sink`."""
        try:
            os.fsync(self._descriptor)
            self._close()
            sync_folder(self._path.parent)
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def abort(self) -> None:
        """Delete it. See `Sink`."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _close(self) -> None:
        # Never twice: by then the number may be another file's.
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)


class LocalStore:
    """One dataset's folder."""

    settled = True

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not exist."""
        self._folder = folder
        self._made = False

    @property
    def place(self) -> str:
        """Return the folder's path."""
        return str(self._folder)

    def prepare(self) -> None:
        """Make the folder; not those above it. See `Store`."""
        try:
            self._folder.mkdir(mode=0o700)
            self._made = True
            sync_folder(self._folder.parent)
        except FileExistsError:
            pass  # an empty folder, or what an interrupted seal has left
        except OSError as error:
            raise _cannot_write(self._folder, error) from error

    def changing(self) -> AbstractContextManager[None]:
        """Hold the folder's lock. See `Store`."""
        return local_lock.held(self._folder)

    def unlock(self) -> bool:
        """Do nothing: the lock goes with its process. See `Store`."""
        return False

    def names(self) -> Sequence[str]:
        """Return the files' names. See `Store`."""
        try:
            return sorted(entry.name for entry in self._folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _cannot_read(self._folder, error) from error

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's bytes. See `Store`."""
        path = self._folder / name
        try:
            with os.fdopen(open_regular(path, follow=False), "rb") as file:
                return file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(path) from error
        except OSError as error:
            raise _cannot_read(path, error) from error

    def reader(self, name: str) -> LocalReader:
        """Open a file. See `Store`."""
        path = self._folder / name
        try:
            return LocalReader(path)
        except FileNotFoundError as error:
            raise _missing(path) from error
        except OSError as error:
            raise _cannot_read(path, error) from error

    def create(self, name: str) -> LocalSink:
        """Begin a file. See `Store`."""
        path = self._folder / name
        try:
            return LocalSink(path)
        except FileExistsError as error:
            raise DatasetExists(f"{path} exists already") from error
        except OSError as error:
            raise _cannot_write(path, error) from error

    def put(self, name: str, data: bytes, *, replace: bool) -> None:
        """Write a file as a whole. See `Store`."""
        path = self._folder / name
        try:
            write_whole(path, data, mode=_MODE, replace=replace)
        except FileExistsError as error:
            raise DatasetExists(
                f"{self._folder} holds a sealed dataset already", hint="choose another name"
            ) from error
        except OSError as error:
            raise _cannot_write(path, error) from error

    def delete(self, name: str) -> None:
        """Delete a file. See `Store`."""
        path = self._folder / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"cannot delete {path}: {why(error)}") from error

    def discard(self) -> None:
        """Remove the folder, if this store has made it and nothing is in it."""
        if self._made:
            with contextlib.suppress(OSError):
                self._folder.rmdir()


def _missing(path: Path) -> DatasetMissing:
    return DatasetMissing(
        f"there is no {path}",
        hint="is it a sealed dataset? fedenclave data list shows those in a folder; an interrupted "
        "seal leaves none",
    )


def _cannot_read(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"cannot read {path}: {why(error)}", hint="is the path right, and may this user read it?"
    )


def _cannot_write(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"cannot write {path}: {why(error)}",
        hint="nothing is left half-written. does the folder above exist, may this user write "
        "there, is the disk full?",
    )
