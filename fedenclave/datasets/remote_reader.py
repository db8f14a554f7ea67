"""An object of an object storage, read by ranges.

Rules:
  * What is read one behind the other is fetched ahead, since every request takes milliseconds; what
    is read here and there is not.
  * A storage's answers are its own: a size that is none, and more bytes than were asked for, are
    refused. They are in memory by then: fsspec's clients take an answer as a whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fedenclave.datasets.errors import DatasetMissing, DatasetRefused, StorageFailed

AHEAD = 8 << 20
"""Bytes that are asked for at once where a file is read from one end to the other."""


class RemoteReader:
    """An object, read by ranges."""

    def __init__(self, storage: Callable[[], Any], path: str, place: str) -> None:
        """Take what gives the file system, and the object's path; it is asked for its size."""
        self._storage, self._path, self._place = storage, path, place
        self.size = _checked_size(storage().info(path), place)
        # Each thread reads at a place of its own.
        self._ahead = threading.local()

    def read_into(self, offset: int, into: memoryview) -> None:
        """Fill `into`. See `RangeReader`."""
        begin, data = getattr(self._ahead, "window", (0, b""))
        if not begin <= offset <= offset + len(into) <= begin + len(data):
            goes_on = begin <= offset <= begin + len(data) and data
            length = max(len(into), AHEAD if goes_on else 0)
            with failing(f"cannot read {self._place} at byte {offset}"):
                end = min(self.size, offset + length)
                data = self._range(offset, end)
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

    def _range(self, start: int, end: int) -> bytes:
        try:
            # By name: s3fs has another argument in the second place.
            data: bytes = self._storage().cat_file(self._path, start=start, end=end)
        except FileNotFoundError as error:
            raise DatasetMissing(
                f"{self._place} was deleted while it was read",
                hint="was the dataset rotated meanwhile? open it again",
            ) from error
        if len(data) > end - start:
            raise StorageFailed(
                f"{self._place}: the storage was asked for {end - start} bytes, and sent "
                f"{len(data)}",
                hint="it does not do what it is asked: is it a storage that knows ranges?",
            )
        return data

    def close(self) -> None:
        """Let go of what was fetched ahead."""
        self._ahead = threading.local()


def _checked_size(facts: dict[str, Any], place: str) -> int:
    size = facts.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise StorageFailed(
            f"{place}: the storage says that it has {size!r:.80} bytes, want a number from 0 on",
            hint="is it an object, and does the storage do what it is asked?",
        )
    return size


@contextmanager
def failing(what: str) -> Iterator[None]:
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
