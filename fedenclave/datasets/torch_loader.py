"""Sealed datasets for torch: the only module here that imports it.

    DataLoader(SealedRows(dataset, ["images.npy", "labels.npy"]), batch_size=64, shuffle=True)
    DataLoader(SealedFiles(dataset, decode), batch_size=64, num_workers=2)

Workers read for themselves: a forked one with the open dataset it has inherited, one that is
started afresh with a data key that it is given while it starts. Neither writes plaintext anywhere
but into the shared memory in which torch hands over batches.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch.utils.data import Dataset

from fedenclave.datasets.arrays import SealedArray
from fedenclave.datasets.errors import SourceRefused
from fedenclave.datasets.reader import SealedDataset

T = TypeVar("T")


class SealedFiles(Dataset[T], Generic[T]):
    """One item a file, such as a folder of images, in the order of names."""

    def __init__(
        self,
        dataset: SealedDataset,
        decode: Callable[[str, io.BufferedReader], T],
        *,
        suffixes: tuple[str, ...] = (),
    ) -> None:
        """Take an open dataset and what makes an item of a file.

        Args:
            dataset: stays open as long as this is used.
            decode: is given a file's name (with slashes: folders are often the labels) and a
                stream of its bytes, and returns the item.
            suffixes: of names, such as `(".png", ".jpg")`; all files where there is none.

        Raises:
            SourceRefused: no file has such a name.
        """
        names = [name for name in dataset.members if not suffixes or name.endswith(suffixes)]
        if not names:
            raise SourceRefused(f"dataset {dataset.head.name} has no file with {suffixes}")
        self._dataset, self._decode, self.names = dataset, decode, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> T:
        """Return the item of one file.

        Raises:
            DatasetDamaged, StorageFailed: it cannot be read; whatever `decode` raises.
        """
        name = self.names[index]
        with self._dataset.open(name) as stream:
            return self._decode(name, stream)


class SealedRows(Dataset[tuple[torch.Tensor, ...]]):
    """One item a row of each of several arrays, such as images and labels, of the same length."""

    def __init__(self, dataset: SealedDataset, names: Sequence[str]) -> None:
        """Take an open dataset and which of its `.npy` files.

        Raises:
            DatasetMissing: one is not there.
            SourceRefused: one is no array, or they differ in length.
        """
        self._arrays = [SealedArray(dataset, name) for name in names]
        lengths = [len(array) for array in self._arrays]
        if len(set(lengths)) != 1:
            raise SourceRefused(f"{', '.join(names)} have {lengths} rows, want the same number")

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        """Return one row of each array, as tensors.

        Raises:
            IndexError: there is no such row.
            DatasetDamaged, StorageFailed: it cannot be read.
        """
        return tuple(torch.as_tensor(array[index]) for array in self._arrays)
