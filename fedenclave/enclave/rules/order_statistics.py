"""Median, trimmed mean and nearest mean of every coordinate of a tile.

A tile is one chunk of all K updates: an array of K rows. A result depends on the values in its
column alone, as a multiset: not on the order of the rows, nor on how columns are grouped. Sums are
in float64, in an order of ranks, and 0.0 is added to every sum, since which of -0.0 and 0.0 counts
as the smaller is not said.

Few rows are ordered by a sorting network of whole rows, many by numpy's sort of columns, which are
brought together before. Both work on blocks of columns that stay in a core's caches, and in the
caller's memory.

Sources: Yin et al. 2018 (median, trimmed mean); El Mhamdi et al. 2018 (nearest mean).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedenclave.enclave.rules.sorting_network import network, place

WORK_SIZE = 2**20
"""Bytes of scratch that each function here takes, for up to `MAX_ROWS` rows."""

MAX_ROWS = 8192

_MOST_ROWS_BY_NETWORK = 56
"""Measured on AVX-512: above, numpy's sort of a column is faster than a network's comparators."""

_BLOCK_SIZE = 3 * 2**20
"""Bytes of the columns that a network orders at once. A network sorts its halves first and so finds
most rows in the L2 cache even if the block is larger; shorter rows would cost more calls of numpy
than that saves."""

_NETWORK_COLUMNS = 2**15
_SORT_COLUMNS = 2**13
_SORTED_AT_ONCE = 256


class _Block(NamedTuple):
    """Some columns whose wanted ranks are in place.

    Attributes:
        ranks: for each wanted rank, in ascending order, a row of values.
        out: the columns' part of the result.
        double, other: scratch, one float64 a column.
        flags: scratch, one boolean a column.
    """

    ranks: Sequence[NDArray[Any]]
    out: NDArray[np.float64]
    double: NDArray[np.float64]
    other: NDArray[np.float64]
    flags: NDArray[np.bool_]


def median(tile: NDArray[Any], out: NDArray[np.float64], work: NDArray[np.uint8]) -> None:
    """Write the median of every column to `out`; for even K the mean of the two middle values.

    Args:
        tile: [K, n], float32 or float64, finite, of magnitudes up to 2**1000, with contiguous
            rows. Destroyed.
        out: [n].
        work: `WORK_SIZE` bytes, aligned to 8.
    """
    _mean_of_ranks(tile, (len(tile) - 1) // 2, len(tile) // 2, out, work)


def trimmed_mean(
    tile: NDArray[Any], cut: int, out: NDArray[np.float64], work: NDArray[np.uint8]
) -> None:
    """Write the mean of every column without its `cut` smallest and `cut` largest values to `out`.

    Args:
        tile: as for `median`.
        cut: 0 or more; 2 * cut < K.
        out: [n].
        work: as for `median`.

    Raises:
        ValueError: nothing is left to average.
    """
    if not 0 <= 2 * cut < len(tile):
        raise ValueError(f"cut is {cut} at either end of {len(tile)} values, want some left")
    _mean_of_ranks(tile, cut, len(tile) - 1 - cut, out, work)


def nearest_mean(
    tile: NDArray[Any], beta: int, out: NDArray[np.float64], work: NDArray[np.uint8]
) -> None:
    """Write the mean of every column's `beta` values nearest to its median to `out`.

    They follow each other in rank: of a value and the one `beta` ranks above at most one belongs to
    them, and the upper one is nearer if the middle between the two, in float64, lies below the
    median. Of two values at the same distance the lower belongs.

    Args:
        tile: as for `median`.
        beta: 1 to K.
        out: [n].
        work: as for `median`.

    Raises:
        ValueError: `beta` is out of range.
    """
    clients = len(tile)
    if not 1 <= beta <= clients:
        raise ValueError(f"beta is {beta}, want 1 to {clients}")
    for block in _blocks(tile, 0, clients - 1, out, work):
        ranks, twice, double, other = block.ranks, block.out, block.double, block.other
        np.copyto(twice, ranks[(clients - 1) // 2])
        np.copyto(double, ranks[clients // 2])
        np.add(twice, double, out=twice)
        for rank in range(clients - beta):
            np.copyto(double, ranks[rank])
            np.copyto(other, ranks[rank + beta])
            np.add(double, other, out=double)
            np.less(double, twice, out=block.flags)
            # The window moves up over ranks; what leaves it makes room for what comes.
            np.putmask(ranks[rank % beta], block.flags, ranks[rank + beta])
        _average(ranks[:beta], block.out, double)


def _mean_of_ranks(
    tile: NDArray[Any],
    first: int,
    last: int,
    out: NDArray[np.float64],
    work: NDArray[np.uint8],
) -> None:
    for block in _blocks(tile, first, last, out, work):
        _average(block.ranks, block.out, block.double)


def _average(
    rows: Sequence[NDArray[Any]], out: NDArray[np.float64], work: NDArray[np.float64]
) -> None:
    """Write the mean of `rows`, added up one after the other, to `out`."""
    np.copyto(out, rows[0])
    for row in rows[1:]:
        # Copied and then added: faster than one addition that converts on the way.
        np.copyto(work, row)
        np.add(out, work, out=out)
    np.add(out, 0.0, out=out)
    if len(rows) > 1:
        np.divide(out, len(rows), out=out)


def _blocks(
    tile: NDArray[Any],
    first: int,
    last: int,
    out: NDArray[np.float64],
    work: NDArray[np.uint8],
) -> Iterator[_Block]:
    """Bring the ranks `first` to `last` of every column to their places, block by block."""
    clients, total = tile.shape
    if not 1 <= clients <= MAX_ROWS:
        raise ValueError(f"tile has {clients} rows, want 1 to {MAX_ROWS}")
    by_network = clients <= _MOST_ROWS_BY_NETWORK
    width = _SORT_COLUMNS
    if by_network:
        width = min(_NETWORK_COLUMNS, _BLOCK_SIZE // ((clients + 1) * tile.itemsize + 16))
    for start in range(0, total, width):
        columns = slice(start, min(start + width, total))
        count = columns.stop - start
        double = work[: 8 * count].view(np.float64)
        other = work[8 * count : 16 * count].view(np.float64)
        flags = work[16 * count : 17 * count].view(np.bool_)
        rest = work[24 * width : WORK_SIZE].view(tile.dtype)
        ranks = list(tile[:, columns])
        if by_network:
            place(ranks, network(clients, first, last), rest[:count])
        else:
            _sort_columns(tile[:, columns], first, last, rest)
        yield _Block(ranks[first : last + 1], out[columns], double, other, flags)


def _sort_columns(block: NDArray[Any], first: int, last: int, work: NDArray[Any]) -> None:
    """Sort every column and put the ranks `first` to `last` back into their rows."""
    clients, total = block.shape
    at_once = min(_SORTED_AT_ONCE, len(work) // (2 * clients + 2) - 1)
    for start in range(0, total, at_once):
        part = block[:, start : start + at_once]
        count = part.shape[1]
        # Distances of a power of two between rows would bring all of a column's values to the same
        # few places of the caches. So each row is copied to one that lies an odd distance off.
        rows = work[: clients * (count | 1)].reshape(clients, count | 1)[:, :count]
        pitch = clients | 1
        columns = work[clients * (count | 1) :][: count * pitch].reshape(count, pitch)[:, :clients]
        np.copyto(rows, part)
        np.copyto(columns, rows.T)
        columns.sort(axis=1)
        np.copyto(part[first : last + 1], columns.T[first : last + 1])
