"""A dataset in an object storage, reached through fsspec: the only module here that imports it.

`s3://bucket/path` needs the package s3fs, `gs://` gcsfs, `az://` and `abfs://` adlfs; each finds
its credentials where its vendor's tools do. Everything is encrypted before it leaves, and a storage
that lies is found out as a disk is.

Rules:
  * Only storages whose objects appear and change as a whole: the head depends on it. A file server
    is mounted, and then a folder.
  * The head of a new dataset takes nobody's place: the storage is asked to refuse that.
  * What is read one behind the other is fetched ahead, since every request takes milliseconds; what
    is read here and there is not.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fsspec.core import url_to_fs

from fedenclave.datasets.errors import DatasetExists, DatasetMissing, DatasetRefused, StorageFailed
from fedenclave.datasets.layout import HEAD

OBJECT_STORAGES = ("s3", "gs", "az", "abfs", "memory")
AHEAD = 8 << 20
"""Bytes that are asked for at once where a file is read from one end to the other."""
_UPLOAD_PART = 16 << 20


class RemoteReader:
    """An object, read by ranges."""

    def __init__(self, storage: Callable[[], Any], path: str, place: str) -> None:
        """Take what gives the file system, and the object's path; it is asked for its size."""
        self._storage, self._path, self._place = storage, path, place
        self.size: int = int(storage().info(path)["size"])
        # Each thread reads at a place of its own.
        self._ahead = threading.local()

    def read_into(self, offset: int, into: memoryview) -> None:
        """Fill `into`. See `RangeReader`."""
        begin, data = getattr(self._ahead, "window", (0, b""))
        if not begin <= offset <= offset + len(into) <= begin + len(data):
            goes_on = begin <= offset <= begin + len(data) and data
            length = max(len(into), AHEAD if goes_on else 0)
            with _failing(f"cannot read {self._place} at byte {offset}"):
                end = min(self.size, offset + length)
                # By name: s3fs has another argument in the second place.
                data = self._storage().cat_file(self._path, start=offset, end=end)
                begin = offset
            self._ahead.window = (begin, data)
        part = data[offset - begin : offset - begin + len(into)]
        if len(part) < len(into):
            raise StorageFailed(
                f"{self._place} ends at byte {offset + len(part)}, want {self.size}: it was cut "
                "off",
                hint="put it back from a backup",
            )
        into[:] = part

    def close(self) -> None:
        """Let go of what was fetched ahead."""
        self._ahead = threading.local()


class RemoteSink:
    """An object that is being uploaded."""

    def __init__(self, storage: Callable[[], Any], path: str, place: str) -> None:
        """Begin the upload."""
        self._storage, self._path, self._place = storage, path, place
        self._file = storage().open(path, "wb", block_size=_UPLOAD_PART)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. See `Sink`."""
        with _failing(f"cannot write {self._place}"):
            self._file.write(data)

    def commit(self) -> None:
        """Finish the upload. See `Sink`."""
        with _failing(f"cannot write {self._place}"):
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

    def __init__(self, url: str) -> None:
        """Take the URL; nothing is asked of the storage yet.

        Raises:
            StorageFailed: it is none that can be used here, or its package is missing.
        """
        self._url, self._process = url.rstrip("/"), 0
        self._system: Any = None
        self._prefix = ""
        self._storage()

    @property
    def place(self) -> str:
        """Return the URL."""
        return self._url

    def prepare(self) -> None:
        """Do nothing: a prefix is there once an object is."""

    def discard(self) -> None:
        """Do nothing: a prefix is gone with its last object."""

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
        with _failing(f"cannot write {self._url}/{name}"):
            return RemoteSink(self._storage, self._path(name), f"{self._url}/{name}")

    def put(self, name: str, data: bytes, *, replace: bool) -> None:
        """Write an object as a whole. See `Store`."""
        mode = "overwrite" if replace else "create"
        try:
            with _failing(f"cannot write {self._url}/{name}"):
                self._storage().pipe_file(self._path(name), data, mode=mode)
        except FileExistsError as error:
            raise DatasetExists(
                f"{self._url} holds a sealed dataset already", hint="choose another name"
            ) from error

    def delete(self, name: str) -> None:
        """Delete an object. See `Store`."""
        with (
            _failing(f"cannot delete {self._url}/{name}"),
            contextlib.suppress(FileNotFoundError),
        ):
            self._storage().rm_file(self._path(name))

    def holds_dataset(self) -> bool:
        """Return whether there is a head.

        Raises:
            StorageFailed: it cannot be looked at.
        """
        return HEAD in self.names()

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
        with _failing(f"cannot list {self._url}"):
            try:
                return list(self._system.ls(self._prefix, detail=True))
            except FileNotFoundError:
                return []

    @contextmanager
    def _looking(self, name: str) -> Iterator[None]:
        try:
            with _failing(f"cannot read {self._url}/{name}"):
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


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Give whatever a storage's client raises our own error, but for what callers look at."""
    try:
        yield
    except (DatasetRefused, FileExistsError, FileNotFoundError):
        raise
    # Each client has exceptions of its own, and which is not a promise of any.
    except Exception as error:
        raise StorageFailed(
            f"{what}: {str(error)[:300] or type(error).__name__}",
            hint="is the network there, are the credentials right, does the bucket exist?",
        ) from error
