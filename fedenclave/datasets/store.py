"""Where sealed datasets lie: a folder here; another storage in remote_store.py.

A store holds one dataset's three objects. Readers read at offsets and share no position, so that
threads and forked workers can use one. They are not mapped into memory: a mapped file that somebody
cuts off kills the process that reads behind its end.

Rules:
  * `put` is atomic: an object is as it was or as it is to be.
  * `create` never takes the place of an object.
  * An object that is not committed is deleted.
  * Who replaces the head, or deletes what a head has named, holds the lock: `changing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from fedenclave.datasets.errors import DatasetDamaged
from fedenclave.datasets.head import Head
from fedenclave.datasets.layout import PREFIX_SIZE


class RangeReader(Protocol):
    """An object's bytes, at any offset."""

    @property
    def size(self) -> int:
        """Return how many there are."""
        ...

    def read_into(self, offset: int, into: memoryview) -> None:
        """Fill `into` with the bytes from `offset` on.

        Raises:
            StorageFailed: they cannot be read, or are not there any more.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Sink(Protocol):
    """An object that is being written."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises:
            StorageFailed: they cannot be written.
        """
        ...

    def commit(self) -> None:
        """Make it durable.

        Raises:
            StorageFailed: it cannot be.
        """
        ...

    def abort(self) -> None:
        """Delete it, as well as that can be done."""
        ...


class Store(Protocol):
    """One dataset's objects."""

    @property
    def place(self) -> str:
        """Return where it is, for messages."""
        ...

    @property
    def settled(self) -> bool:
        """Return whether a `put` that has failed can have no effect later than its failure."""
        ...

    def changing(self) -> AbstractContextManager[object]:
        """Keep everybody else from changing the dataset.

        Raises:
            DatasetBusy: another does.
            DatasetMissing: there is no place.
            StorageFailed: no lock can be had, or not given back.
        """
        ...

    def unlock(self) -> bool:
        """Delete a lock that a killed process has left; return whether there was one.

        Raises:
            StorageFailed: it cannot be deleted.
        """
        ...

    def prepare(self) -> None:
        """Make the place, where there is none.

        Raises:
            StorageFailed: it cannot be made.
        """
        ...

    def names(self) -> Sequence[str]:
        """Return its objects' names; none where the place does not exist.

        Raises:
            StorageFailed: it cannot be looked at.
        """
        ...

    def read(self, name: str, limit: int) -> bytes:
        """Return a small object's bytes; of a longer one, `limit` and one more.

        Raises:
            DatasetMissing: there is none.
            StorageFailed: it cannot be read.
        """
        ...

    def reader(self, name: str) -> RangeReader:
        """Open an object.

        Raises:
            DatasetMissing: there is none.
            StorageFailed: it cannot be read.
        """
        ...

    def create(self, name: str) -> Sink:
        """Begin an object.

        Raises:
            DatasetExists: there is one of that name.
            StorageFailed: it cannot be written.
        """
        ...

    def put(self, name: str, data: bytes, *, replace: bool) -> None:
        """Write a small object as a whole, in the place of another if `replace`.

        Raises:
            DatasetExists: there is one, and it is not to be replaced.
            StorageFailed: it cannot be written, or is and may not stay: see head_change.py.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete an object, if it is there.

        Raises:
            StorageFailed: it cannot be deleted.
        """
        ...

    def discard(self) -> None:
        """Remove the place, if nothing is in it."""
        ...


def check_prefix(reader: RangeReader, magic: bytes, head: Head, part: str, where: str) -> None:
    """Refuse an object that is not the part of this dataset that it is taken for.

    Its authenticity rests on its chunks' tags: this is what gives a mix-up its name.

    Raises:
        DatasetDamaged: it is too short or too long, something else, or another dataset's.
    """
    want = head.index_size if part == "index" else head.body_size
    place = f"dataset {head.name} at {where}: the {part}"
    if reader.size != want or reader.size < PREFIX_SIZE:
        raise DatasetDamaged(
            f"{place} has {reader.size} bytes, want {want}: "
            f"{'it was cut off' if reader.size < want else 'something was added'}",
            hint=f"put the {part} back from a backup",
        )
    prefix = bytearray(PREFIX_SIZE)
    reader.read_into(0, memoryview(prefix))
    if prefix[: len(magic)] != magic:
        raise DatasetDamaged(
            f"{place} begins with {prefix[:4].hex()}, want {magic.hex()}: it is none",
            hint=f"put the {part} back from a backup",
        )
    if prefix[len(magic) :] != head.dataset:
        raise DatasetDamaged(
            f"{place} is that of dataset {prefix[len(magic) :].hex()}, want {head.name}",
            hint="files of several datasets were mixed: put each back where it belongs",
        )
