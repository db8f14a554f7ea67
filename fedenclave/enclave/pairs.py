"""The pass that compares every pair of updates: their inner products, exactly added up.

SPEC.md, section 11.2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedenclave.enclave.rules.gram import (
    block_gram,
    distances,
    gram_floats,
    scale_bits_for,
    scales,
    work_size,
)
from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.tile import tiles
from fedenclave.enclave.updates import Reader
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.tensors import Schema


class Gram:
    """The inner products of K updates, as they are clipped."""

    def __init__(self, sums: NDArray[np.int64], bits: list[int]) -> None:
        """Keep integer `sums`, [K, K], each in units of 2**-(the one's bits + the other's)."""
        self._sums, self._bits = sums, bits

    @property
    def clients(self) -> int:
        """K."""
        return len(self._bits)

    def floats(self) -> NDArray[np.float64]:
        """Return them as float64, [K, K]."""
        return gram_floats(self._sums, self._bits)

    def distances(self) -> NDArray[np.float64]:
        """Return the squared distance of every pair, [K, K]."""
        return distances(self._sums, self._bits)


def inner_products(reader: Reader, schema: Schema, workers: Workers) -> Gram:
    """Return the inner products of every pair of updates.

    Integers are left out of account: a counter's distance says nothing of a model's.

    Raises:
        ChangedAfterAdmission: an update is not what admission judged.
        RequestRefused: a file cannot be read.
    """
    shrink = [update.shrink for update in reader.updates]
    norms = [math.sqrt(update.square_norm) * update.shrink for update in reader.updates]
    bits, count = [scale_bits_for(norm) for norm in norms], len(shrink)
    scale, ones = scales(bits, shrink), [1.0] * count
    # Integers, so which thread adds which chunk changes nothing.
    sums: dict[int, NDArray[np.int64]] = {}

    def add_chunk(index: int, scratch: Scratch) -> None:
        wide = schema.chunks[index].dtype.wide
        if schema.chunks[index].dtype.integer:
            return
        own = sums.setdefault(id(scratch), np.zeros((count, count), np.int64))
        work = np.empty(work_size(count, wide.itemsize), np.uint8)
        for _, tile in tiles(reader, schema, index, scratch, ones):
            block_gram(tile, scale, own, work)

    workers.each(len(schema.chunks), add_chunk)
    total = np.zeros((count, count), np.int64)
    for own in sums.values():
        total += own
    return Gram(total, bits)
