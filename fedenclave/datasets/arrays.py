"""A NumPy file inside a sealed dataset, row by row: as `numpy.load(mmap_mode="r")`, but sealed.

Only the chunks that hold the wanted rows are decrypted, into the array that is returned. Nothing is
mapped: what is decrypted lies in this process's memory and nowhere else.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fedenclave.datasets.errors import SourceRefused
from fedenclave.datasets.member_file import MemberFile
from fedenclave.datasets.reader import SealedDataset


class SealedArray:
    """An array of shape [N, ...] that is read a row at a time.

    Attributes:
        shape: as `numpy.ndarray` has it.
        dtype: of its elements.
    """

    def __init__(self, dataset: SealedDataset, name: str) -> None:
        """Read the header of the `.npy` file `name` of an open dataset.

        Raises:
            DatasetMissing: there is no such file.
            SourceRefused: it is no array that can be read by rows.
            DatasetDamaged, StorageFailed: see `SealedDataset.open_chunk`.
        """
        self._dataset, self._member = dataset, dataset.member(name)
        self.shape, self.dtype, self._start = _header(dataset, name)
        self._row = self.dtype.itemsize * math.prod(self.shape[1:])
        want = self._start + self._row * self.shape[0]
        if self._member.size != want:
            raise SourceRefused(
                f"{name!r} has {self._member.size} bytes, want {want} for an array of shape "
                f"{list(self.shape)}",
                hint="was it cut off before it was sealed?",
            )
        self._streams = threading.local()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> NDArray[Any]:
        """Return one row, or successive rows, as an array of the caller's own.

        Raises:
            IndexError: there is no such row.
            ValueError: a slice with steps.
            DatasetDamaged, StorageFailed: see `SealedDataset.open_chunk`.
        """
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"a slice has step {step}, want 1")
            return self._rows(first, max(0, end - first))
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"there is no row {index} of {len(self)}")
        one: NDArray[Any] = self._rows(row, 1)[0]
        return one

    def _rows(self, first: int, count: int) -> NDArray[Any]:
        rows = np.empty((count, *self.shape[1:]), self.dtype)
        if rows.nbytes:
            into = memoryview(rows.reshape(-1).view(np.uint8))
            self._stream().fill(self._start + first * self._row, into)
        return rows

    def _stream(self) -> MemberFile:
        # A stream keeps the chunk that it has last decrypted, so that each thread needs its own.
        stream: MemberFile | None = getattr(self._streams, "stream", None)
        if stream is None:
            stream = self._streams.stream = MemberFile(self._dataset, self._member)
        return stream

    def __reduce__(self) -> tuple[type[SealedArray], tuple[SealedDataset, str]]:
        return SealedArray, (self._dataset, self._member.name)


def _header(dataset: SealedDataset, name: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, type and where the elements begin."""
    with dataset.open(name) as stream:
        try:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
        except ValueError as error:
            raise SourceRefused(
                f"{name!r} is no NumPy array", hint="numpy.save makes one; csv and others: open()"
            ) from error
        if dtype.hasobject or by_columns or not shape:
            raise SourceRefused(
                f"{name!r} is an array of shape {list(shape)} and type {dtype}"
                f"{', stored by columns' if by_columns else ''}: it has no rows to read",
                hint="save it with numpy.ascontiguousarray, and as numbers",
            )
        return shape, dtype, stream.tell()
