"""The exact weighted sum: 64-bit fixed point, so that no order of addition changes a bit.

With coefficients whose magnitudes add up to 1 at most, a sum of values of magnitude at most
`max_abs` is at most `max_abs`. The scale 2**s is chosen so that `max_abs * 2**s <= 2**50`: every
term fits the rounding trick below, and the sum of up to 2**13 terms and their rounding errors fits
an int64 with a factor of 2**12 to spare. SPEC.md, section 11.2, has the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.floats import WideArray

HEADROOM_BITS = 50

ROUNDER = 1.5 * 2.0**52
"""Added to a float64 of magnitude up to 2**51 it leaves the nearest integer (ties to even) in the
low bits of the sum's pattern: rounding and conversion in one addition."""

_ROUNDER_BITS = int(np.float64(ROUNDER).view(np.int64))


def scale_bits(most: float, headroom_bits: int = HEADROOM_BITS) -> int:
    """Return s, the largest integer with `most * 2**s <= 2**headroom_bits`; `most` is positive."""
    mantissa, exponent = math.frexp(most)
    return headroom_bits - (exponent - 1 if mantissa == 0.5 else exponent)


def shares(weights: Sequence[int], total: int | None = None) -> list[float]:
    """Return what part of `total`, or of their own sum, each of K positive integers is.

    Division of integers is correctly rounded, so a share does not depend on the order of K.
    """
    total = sum(weights) if total is None else total
    return [weight / total for weight in weights]


def factors(coefficients: Sequence[float], bits: int) -> list[float]:
    """Return what each update is multiplied with: its coefficient times 2**bits.

    Args:
        coefficients: K numbers whose magnitudes add up to 1 at most, but for their rounding.
        bits: the scale.
    """
    return [math.ldexp(coefficient, bits) for coefficient in coefficients]


def add(
    total: NDArray[np.int64],
    values: WideArray,
    factor: float,
    work: NDArray[np.float64],
) -> None:
    """Add `values * factor`, rounded to integers, to `total`; each call adds `ROUNDER`'s bits too.

    Args:
        total: running sums, wrapping.
        values: finite, and `abs(values * factor) <= 2**50` (checked by admission).
        factor: from `factors`.
        work: scratch of the same length.
    """
    # Copied and then multiplied: faster than one multiplication that converts on the way.
    np.copyto(work, values)
    np.multiply(work, factor, out=work)
    np.add(work, ROUNDER, out=work)
    np.add(total, work.view(np.int64), out=total)


def settle(total: NDArray[np.int64], count: int) -> None:
    """Take out of `total` what `count` additions of `ROUNDER` put in too much: T is left."""
    # int64 arithmetic wraps, so it comes out again exactly.
    surplus = (count * _ROUNDER_BITS) % 2**64
    np.subtract(total.view(np.uint64), np.uint64(surplus), out=total.view(np.uint64))


def unscale(total: NDArray[np.int64], bits: int, out: NDArray[np.float64]) -> None:
    """Write T times 2**-bits to `out` as float64."""
    np.multiply(total, math.ldexp(1.0, -bits), out=out, dtype=np.float64)
