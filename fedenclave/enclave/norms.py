"""Is a chunk finite and within bounds, and what is the norm of the whole?

Squares are added in blocks of `BLOCK` elements, counted from the start of a dtype's run, each by
one dot product in the values' own precision; the blocks' sums are then added without rounding. So a
norm depends on no thread and on no chunk size. It is exact to about 2**-20 of itself, and another
make of CPU may find another last digit.

SPEC.md, section 11.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedenclave.protocol.errors import Reason, UpdateRejected
from fedenclave.protocol.floats import BLOCK, MAX_COUNT, WideArray

# Room for the rounding of a float32 sum of squares. An addend never makes such a sum smaller, so
# that its root bounds every element however inexact the rest of it is.
_SLACK = 1e-5


def judged_squares(values: WideArray, max_abs: float) -> Sequence[float]:
    """Return each block's sum of squares, of finite floats within `max_abs` (checks 20 and 21).

    One pass does for nearly every chunk: a non-finite element makes the sum non-finite, and no
    element is larger than the root of the sum. `max_abs` is below 2**40, so a sum of honest values
    cannot overflow.

    Raises:
        UpdateRejected: an element is not finite, or larger.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = _block_squares(values)
        if sum(squares) * (1 + _SLACK) <= max_abs * max_abs:
            return squares
        # Both are NaN where there is one. `np.abs` would copy plaintext to ordinary memory.
        largest = max(float(values.max()), -float(values.min()))
    if not math.isfinite(largest):
        raise UpdateRejected(Reason.NOT_FINITE)
    if largest > max_abs:
        raise UpdateRejected(Reason.OVER_MAX_ABS)
    return squares


def _block_squares(values: WideArray) -> list[float]:
    """Return the sum of squares of each block, by one call for all whole ones."""
    whole = len(values) // BLOCK
    rows, rest = values[: whole * BLOCK].reshape(whole, BLOCK), values[whole * BLOCK :]
    # A row by its own column: each block is a product of its own, whatever others stand beside it.
    squares: list[float] = np.matmul(rows[:, None, :], rows[:, :, None]).ravel().tolist()
    if len(rest):
        squares.append(float(np.dot(rest, rest)))
    return squares


def judge_counts(values: WideArray) -> None:
    """Refuse integers that have moved by more than MAX_COUNT (check 21).

    Raises:
        UpdateRejected: one has.
    """
    if max(float(values.max()), -float(values.min())) > MAX_COUNT:
        raise UpdateRejected(Reason.OVER_MAX_ABS)
