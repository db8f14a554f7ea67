"""A dataset in an object storage, reached through fsspec: the only module here that imports it.

`s3://bucket/path` needs the package s3fs, `gs://` gcsfs, `az://` and `abfs://` adlfs; each finds
its credentials where its vendor's tools do. Everything is encrypted before it leaves, and a storage
that lies is found out as a disk is.

Rules:
  * Only storages whose objects appear and change as a whole: the head depends on it. A file server
    is mounted, and then a folder.
  * The head of a new dataset takes nobody's place: the storage is asked to refuse that.
  * A `put` whose answer was lost has taken place if what was put lies there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fsspec.core import url_to_fs

from fedenclave.datasets import remote_lock
from fedenclave.datasets.errors import DatasetExists, DatasetMissing, DatasetRefused, StorageFailed
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.remote_reader import RemoteReader, failing

OBJECT_STORAGES = ("s3", "gs", "az", "abfs", "memory")
_UPLOAD_PART = 16 << 20


class RemoteSink:
    """An object that is being uploaded."""

    def __init__(self, storage: Callable[[], Any], path: str, place: str) -> None:
        """Begin the upload."""
        self._storage, self._path, self._place = storage, path, place
        self._file = storage().open(path, "wb", block_size=_UPLOAD_PART)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. See `Sink`."""
        with failing(f"cannot write {self._place}"):
            self._file.write(data)

    def commit(self) -> None:
        """Finish the upload. See `Sink`."""
        with failing(f"cannot write {self._place}"):
            self._file.close()

    def abort(self) -> None:
        """Delete it. See `Sink`."""
        # A file that is only forgotten would finish its upload when it is collected.
        for end in (self._file.discard, self._file.close):
            with contextlib.suppress(Exception):
                end()
        with contextlib.suppress(Exception):
            self._storage().rm_file(self._path)


class RemoteStore:
    """One dataset's prefix."""

    # What a client has given up waiting for may still reach the storage.
    settled = False

    def __init__(self, url: str) -> None:
        """Take the URL; nothing is asked of the storage yet.

        Raises:
            StorageFailed: it is none that can be used here, or its package is missing.
        """
        self._url, self._process = url.rstrip("/"), 0
        self._system: Any = None
        self._prefix = ""
        self._check_lock: Callable[[], None] = lambda: None
        self._storage()

    @property
    def place(self) -> str:
        """Return the URL."""
        return self._url

    def prepare(self) -> None:
        """Do nothing: a prefix is there once an object is."""

    def discard(self) -> None:
        """Do nothing: a prefix is gone with its last object."""

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the prefix's lock. See `Store`."""
        with remote_lock.held(self) as check:
            self._check_lock = check
            try:
                yield
            finally:
                self._check_lock = lambda: None

    def unlock(self) -> bool:
        """Delete the lock, whoever's it is. See `Store`."""
        return remote_lock.remove(self)

    def names(self) -> Sequence[str]:
        """Return the objects' names. See `Store`."""
        return [entry["name"].rpartition("/")[2] for entry in self._entries()]

    def folders(self) -> Sequence[RemoteStore]:
        """Return the prefixes below this one.

        Raises:
            StorageFailed: it cannot be looked at.
        """
        below = [entry for entry in self._entries() if entry["type"] == "directory"]
        names = sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in below)
        return [RemoteStore(f"{self._url}/{name}") for name in names]

    def read(self, name: str, limit: int) -> bytes:
        """Return an object's bytes. See `Store`."""
        with self._looking(name):
            reader = RemoteReader(self._storage, self._path(name), f"{self._url}/{name}")
        data = bytearray(min(reader.size, limit + 1))
        if data:
            reader.read_into(0, memoryview(data))
        return bytes(data)

    def reader(self, name: str) -> RemoteReader:
        """Open an object. See `Store`."""
        with self._looking(name):
            return RemoteReader(self._storage, self._path(name), f"{self._url}/{name}")

    def create(self, name: str) -> RemoteSink:
        """Begin an object. See `Store`: names are random, so that nobody else has this one."""
        with failing(f"cannot write {self._url}/{name}"):
            return RemoteSink(self._storage, self._path(name), f"{self._url}/{name}")

    def put(self, name: str, data: bytes, *, replace: bool) -> None:
        """Write an object as a whole. See `Store`."""
        mode = "overwrite" if replace else "create"
        if replace:
            self._check_lock()
        try:
            with failing(f"cannot write {self._url}/{name}"):
                self._storage().pipe_file(self._path(name), data, mode=mode)
        except (FileExistsError, StorageFailed) as error:
            # A client that asks again after a lost answer is told of its own object.
            if self._holds(name, data):
                return
            if isinstance(error, StorageFailed):
                raise
            raise DatasetExists(
                f"{self._url} holds a sealed dataset already", hint="choose another name"
            ) from error

    def delete(self, name: str) -> None:
        """Delete an object. See `Store`."""
        with (
            failing(f"cannot delete {self._url}/{name}"),
            contextlib.suppress(FileNotFoundError),
        ):
            self._storage().rm_file(self._path(name))

    def holds_dataset(self) -> bool:
        """Return whether there is a head.

        Raises:
            StorageFailed: it cannot be looked at.
        """
        return HEAD in self.names()

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read(name, len(data)) == data
        except DatasetRefused:
            return False

    def _path(self, name: str) -> str:
        self._storage()
        return f"{self._prefix}/{name}"

    def _storage(self) -> Any:
        """Return the file system, a new one in a forked process: connections are not shared."""
        if self._process != os.getpid():
            self._system, self._prefix = _file_system(self._url)
            self._process = os.getpid()
        return self._system

    def _entries(self) -> list[dict[str, Any]]:
        self._storage().invalidate_cache()
        with failing(f"cannot list {self._url}"):
            try:
                return list(self._system.ls(self._prefix, detail=True))
            except FileNotFoundError:
                return []

    @contextmanager
    def _looking(self, name: str) -> Iterator[None]:
        try:
            with failing(f"cannot read {self._url}/{name}"):
                yield
        except FileNotFoundError as error:
            raise DatasetMissing(
                f"there is no {self._url}/{name}",
                hint="is it a sealed dataset? fedenclave data list shows those below a URL",
            ) from error

    def __reduce__(self) -> tuple[type[RemoteStore], tuple[str]]:
        return RemoteStore, (self._url,)


def _file_system(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    if scheme not in OBJECT_STORAGES:
        raise StorageFailed(
            f"{url} is of kind {scheme}, want a path or one of {', '.join(OBJECT_STORAGES)}",
            hint="mount other storages, and name the folder",
        )
    try:
        system, prefix = url_to_fs(url)
    except ImportError as error:
        raise StorageFailed(
            f"{scheme}:// needs a package that is not installed: {error}",
            hint="pip install s3fs for s3, gcsfs for gs, adlfs for az and abfs",
        ) from error
    return system, prefix.rstrip("/")
