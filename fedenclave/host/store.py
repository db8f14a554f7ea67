"""The ciphertext store: sealed updates as files, with a size limit.

Written with pwrite and not through a memory map: on a full disk a map ends the process with
SIGBUS, a write says so. The enclave reads the same pages through the descriptor that it is passed.

A round's files are the next round's: writing over a file that the kernel has in memory takes a
tenth of the time of writing a new one, whose pages it must find first.

Rules:
  * Updates may be written by several threads at once, each its own.
  * An update is deleted unless it is kept, and when the round is over nothing is an update any
    more: its file is a spare one, to be written over or deleted.
  * A file of an update is cut to the bytes that were written for it before anybody reads it.
  * A folder belongs to one process, which first asks for what an earlier one has left, and keeps of
    that what the enclave still waits for.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from fedenclave.host.journal import flush_folder
from fedenclave.protocol.errors import (
    ConfigurationError,
    FedEnclaveError,
    Refusal,
    RequestRefused,
)

_SUFFIX = ".feu"
_SPARE = ".spare"


class StoreFull(FedEnclaveError):
    """The store's limit or the disk is reached. What was begun has been removed."""


class StoredUpdate:
    """One sealed update being written or read."""

    def __init__(self, store: CiphertextStore, path: Path, room: int) -> None:
        """Open the file, or create it.

        Args:
            store: counts the room that updates take.
            path: a file of this update's own.
            room: bytes that the file has already, left by another update.

        Raises:
            StoreFull: the disk or the process's limits do not allow it.
        """
        self._store, self.path, self.room = store, path, room
        self.size = 0
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.descriptor = -1
            self.discard()
            raise StoreFull(
                f"cannot create a file for a sealed update: {error.strerror}",
                hint="is the disk full, or the folder gone?",
            ) from error

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at the end.

        Raises:
            StoreFull: the limit or the disk does not allow it.
        """
        missing = self.size + len(data) - self.room
        if missing > 0:
            self._store.reserve(missing)
            self.room += missing
        self.size += len(data)
        view, position = memoryview(data), self.size - len(data)
        try:
            while view:
                written = os.pwrite(self.descriptor, view, position)
                view, position = view[written:], position + written
        except OSError as error:
            raise StoreFull(
                f"cannot write a sealed update: {error.strerror}", hint="free disk space"
            ) from error

    def finish(self) -> None:
        """Cut off what an earlier, longer update left behind this one.

        Raises:
            StoreFull: the disk does not allow it.
        """
        try:
            os.ftruncate(self.descriptor, self.size)
        except OSError as error:
            raise StoreFull(f"cannot cut a file to length: {error.strerror}") from error
        self._store.release(self.room - self.size)
        self.room = self.size

    def flush(self) -> None:
        """Return once the disk has the update, under its name: it may be a spare file's new one.

        Raises:
            StoreFull: the disk refuses.
        """
        try:
            os.fdatasync(self.descriptor)
            flush_folder(self.path.parent)
        except OSError as error:
            raise StoreFull(f"cannot flush a sealed update: {error.strerror}") from error

    def keep(self) -> None:
        """Close the file; it stays until the store is cleared."""
        self._close()
        self._store.take_over(self)

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def discard(self) -> None:
        """Close and delete the file, and give its room back."""
        self._close()
        self.path.unlink(missing_ok=True)
        self._store.release(self.room)
        self.size = self.room = 0


class CiphertextStore:
    """A folder of sealed updates of the open round."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Use `folder` (made if missing), for at most `max_bytes` in all.

        Raises:
            ConfigurationError: another process uses it.
            OSError: it cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._max_bytes, self._used = folder, max_bytes, 0
        self._kept: list[StoredUpdate] = []
        # The last round's files, which count as used, and their sizes.
        self._spare: list[tuple[Path, int]] = []
        self._lock = threading.Lock()
        # A lock file, and not a note of a process id: it is free again however the process ends.
        self._claim = (folder / "lock").open("ab")
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._claim.close()
            raise ConfigurationError(
                f"folder {folder} is in use by another aggregator",
                hint="stop that one, or give each aggregator a folder of its own",
            ) from error
        for spare in folder.glob(f"*{_SPARE}"):
            spare.unlink(missing_ok=True)

    def left(self) -> Iterator[StoredUpdate]:
        """Yield the updates that an earlier process has left; each is kept or discarded.

        Raises:
            StoreFull: the process's limits do not allow it.
        """
        for path in list(self._folder.glob(f"*{_SUFFIX}")):
            update = StoredUpdate(self, path, path.stat().st_size)
            update.size = update.room
            with self._lock:
                self._used += update.room
            yield update

    def hand_in(self, awaited: int, attach: Callable[[int], object]) -> None:
        """Keep those of an earlier process's updates that `attach` takes, `awaited` at most.

        Args:
            awaited: how many are wanted.
            attach: takes an update's descriptor; raises RequestRefused for one that is not wanted.

        Raises:
            StoreFull: as `left`.
        """
        for update in self.left():
            try:
                if not awaited:
                    raise RequestRefused(Refusal.STORAGE)
                attach(update.descriptor)
            except RequestRefused:
                update.discard()
            else:
                update.keep()
                awaited -= 1

    def reserve(self, size: int) -> None:
        """Take room for `size` bytes.

        Raises:
            StoreFull: there is not so much.
        """
        with self._lock:
            while self._used + size > self._max_bytes and self._spare:
                self._delete_spare()
            used = self._used
            if used + size <= self._max_bytes:
                self._used += size
                return
        raise StoreFull(
            f"ciphertext store holds {used} bytes, {size} more exceed its limit of "
            f"{self._max_bytes}",
            hint="raise the aggregator's store limit, or use smaller cohorts",
        )

    def release(self, size: int) -> None:
        """Give room back."""
        with self._lock:
            self._used -= size

    def create(self) -> StoredUpdate:
        """Return a new, empty update; its writer keeps or discards it.

        Raises:
            StoreFull: the disk does not allow it.
        """
        path = self._folder / f"{secrets.token_hex(16)}{_SUFFIX}"
        return StoredUpdate(self, path, self._take_spare(path))

    def _take_spare(self, path: Path) -> int:
        """Give a spare file the name `path` and return its size; 0 where there is none."""
        with self._lock:
            while self._spare:
                spare, size = self._spare.pop()
                if _renamed(spare, path):
                    return size
                self._used -= size
        return 0

    def take_over(self, update: StoredUpdate) -> None:
        """Hold `update` until `clear`."""
        with self._lock:
            self._kept.append(update)

    def clear(self) -> None:
        """Make every kept update a spare file: the round is over, and nothing can open it any more.

        An upload that is still under way is its writer's: the enclave will not take it any more.
        """
        with self._lock:
            # What this round did not use the next will not either.
            while self._spare:
                self._delete_spare()
            for update in self._kept:
                spare = update.path.with_suffix(_SPARE)
                if _renamed(update.path, spare):
                    self._spare.append((spare, update.room))
                else:
                    self._used -= update.room
            self._kept.clear()

    def _delete_spare(self) -> None:
        path, size = self._spare.pop()
        path.unlink(missing_ok=True)
        self._used -= size

    def close(self, *, keep: bool = False) -> None:
        """Delete every file, but for the open round's where `keep`; let others use the folder."""
        if not keep:
            self.clear()
        with self._lock:
            while self._spare:
                self._delete_spare()
        self._claim.close()


def _renamed(path: Path, to: Path) -> bool:
    """Rename a file; return False where somebody has deleted it, which harms nobody."""
    try:
        path.rename(to)
    except OSError:
        return False
    return True


def unusable_folder(folder: Path, error: OSError) -> ConfigurationError:
    """Return the error for a folder of the host's that the system does not let it use."""
    return ConfigurationError(
        f"cannot use folder {folder}: {error.strerror}",
        hint="name a folder that this user can write to",
    )
