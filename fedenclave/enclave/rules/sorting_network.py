"""Comparators that bring chosen ranks of K rows to their places, all columns of a block at once.

A comparator is two calls of numpy, the minimum and the maximum of two whole rows, so sorting takes
no branch that depends on the values. The network is Batcher's odd-even merge sort without what
cannot reach a wanted rank. Rows are not copied back: a list of views says which row holds what.

Source: Batcher 1968, "Sorting networks and their applications".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Comparator(NamedTuple):
    """Puts the smaller of two rows at `low` and the larger at `high`, or only the one needed."""

    low: int
    high: int
    smaller: bool
    larger: bool


@lru_cache(maxsize=64)
def network(rows: int, first: int, last: int) -> tuple[Comparator, ...]:
    """Return the comparators that bring the ranks `first` to `last` of `rows` rows to their places.

    Networks are for powers of two. The rows missing to one count as smaller or larger than all
    others; how many of them as smaller is chosen for the fewest comparators.
    """
    size = 1 << (rows - 1).bit_length()
    whole = list(_merge_sort(0, size))
    pruned = [_prune(whole, below, rows, first, last) for below in range(size - rows + 1)]
    fewest = min(_calls(each) for each in pruned)
    return next(tuple(each) for each in pruned if _calls(each) == fewest)


def place(
    views: list[NDArray[Any]], comparators: tuple[Comparator, ...], spare: NDArray[Any]
) -> None:
    """Apply a network to `views`, K rows of one length and dtype, and permute the list.

    Args:
        views: rows, overwritten. Afterwards `views[r]` is the row of rank r, if r was wanted.
        comparators: from `network`.
        spare: one more row. Views in the list may point to it afterwards.
    """
    minimum, maximum = np.minimum, np.maximum
    for low, high, smaller, larger in comparators:
        a, b = views[low], views[high]
        if not larger:
            minimum(a, b, out=a)
        elif not smaller:
            maximum(a, b, out=b)
        else:
            minimum(a, b, out=spare)
            maximum(a, b, out=b)
            views[low], spare = spare, a


def _calls(comparators: Sequence[Comparator]) -> int:
    return sum(c.smaller + c.larger for c in comparators)


def _merge_sort(start: int, size: int) -> Iterator[tuple[int, int]]:
    """Sort `size` places, a power of two."""
    if size > 1:
        yield from _merge_sort(start, size // 2)
        yield from _merge_sort(start + size // 2, size // 2)
        yield from _merge(start, size, 1)


def _merge(start: int, size: int, step: int) -> Iterator[tuple[int, int]]:
    """Merge the two sorted halves of every `step`-th of `size` places."""
    if 2 * step < size:
        yield from _merge(start, size, 2 * step)
        yield from _merge(start + step, size, 2 * step)
        for i in range(start + step, start + size - step, 2 * step):
            yield i, i + step
    else:
        yield start, start + step


def _prune(
    whole: list[tuple[int, int]], below: int, rows: int, first: int, last: int
) -> list[Comparator]:
    """Return what of a network reaches a wanted rank, its places numbered from `below`."""
    wanted = set(range(first, last + 1))
    kept = []
    for low, high in reversed(whole):
        i, j = low - below, high - below
        # A place outside holds the smallest or the largest of all from the start, and stays so.
        if i < 0 or j >= rows:
            continue
        if i in wanted or j in wanted:
            kept.append(Comparator(i, j, i in wanted, j in wanted))
            wanted |= {i, j}
    return kept[::-1]
