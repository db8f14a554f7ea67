"""The ciphertext store: sealed updates as files, with a size limit.

Written with pwrite and not through a memory map: on a full disk a map ends the process with
SIGBUS, a write says so. The enclave reads the same pages through the descriptor that it is passed.

Rules:
  * Updates may be written by several threads at once, each its own.
  * An update is deleted unless it is kept, and with the round at the latest.
  * A folder belongs to one process; what an earlier one left in it is deleted.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from pathlib import Path

from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError

_SUFFIX = ".feu"


class StoreFull(FedEnclaveError):
    """The store's limit or the disk is reached. What was begun has been removed."""


class StoredUpdate:
    """One sealed update being written or read."""

    def __init__(self, store: CiphertextStore, path: Path) -> None:
        """Create the file; it must not exist.

        Raises:
            StoreFull: the disk or the process's limits do not allow it.
        """
        self._store, self.path = store, path
        self.size = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self.descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise StoreFull(
                f"cannot create a file for a sealed update: {error.strerror}",
                hint="is the disk full, or the folder gone?",
            ) from error

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at the end.

        Raises:
            StoreFull: the limit or the disk does not allow it.
        """
        self._store.reserve(len(data))
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
        self._store.release(self.size)
        self.size = 0


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
        # Left by a process that was killed. The keys that opened these ended with its enclave.
        for left in folder.glob(f"*{_SUFFIX}"):
            left.unlink(missing_ok=True)

    def reserve(self, size: int) -> None:
        """Take room for `size` bytes.

        Raises:
            StoreFull: there is not so much.
        """
        with self._lock:
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
        return StoredUpdate(self, self._folder / f"{secrets.token_hex(16)}{_SUFFIX}")

    def take_over(self, update: StoredUpdate) -> None:
        """Hold `update` until `clear`."""
        with self._lock:
            self._kept.append(update)

    def clear(self) -> None:
        """Delete every kept update: the round is over, and nothing can open them any more.

        An upload that is still under way is its writer's: the enclave will not take it any more.
        """
        with self._lock:
            kept, self._kept = self._kept, []
        for update in kept:
            update.discard()

    def close(self) -> None:
        """Delete every kept update, and let others use the folder."""
        self.clear()
        self._claim.close()
