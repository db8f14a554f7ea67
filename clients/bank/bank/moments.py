"""Mean and deviation of every feature over all banks, without any bank telling its own.

A bank's mean of x and of x squared over its training loans are two arrays of the model, sealed and
averaged in the enclave as every other, weighted by its number of loans. A mean of means so weighted
is the mean over all loans, and the variance is E[x²] - E[x]². So the first release is the pooled
preprocessing, and the model carries it from then on: whoever has the model can use it.

Rules:
  * The model itself says whether there are moments yet (`are_there`). Nobody has to be believed
    that it is the first round: a bank computes its moments for a model without, and for no other.
  * On the agreed scale |x| is at most BOUND, so E[x²] is at most BOUND². The two are float64: of a
    variance near 0.01 float32 would leave four digits, and the enclave's mean is exact.
  * Moments that no loans can have are refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bank.columns import BOUND, FEATURES

Floats = NDArray[np.float64]

LEAST_WIDTH = 1e-3
"""A feature that is the same in all loans is not blown up."""

_SLACK = 1e-9
"""What rounding may take a moment beyond what is possible."""


class MomentsRefused(ValueError):
    """Moments that no loans can have."""


def moments_of(features: Floats) -> tuple[Floats, Floats]:
    """Return the means [P] of x and of x squared of features [n, P] on the agreed scale."""
    return features.mean(axis=0), np.square(features).mean(axis=0)


def no_moments() -> tuple[Floats, Floats]:
    """Return what stands for none: no loans have a square of 0 everywhere."""
    return np.zeros(len(FEATURES)), np.zeros(len(FEATURES))


def are_there(square: Floats) -> bool:
    """Say whether a model with these squares has moments."""
    return bool(np.any(square != 0))


def scale_of(mean: Floats, square: Floats) -> tuple[Floats, Floats]:
    """Return centre [P] and width [P], the deviation but at least LEAST_WIDTH.

    Raises:
        MomentsRefused: no loans on the agreed scale have such moments.
    """
    variance = square - np.square(mean)
    possible = np.isfinite(mean) & np.isfinite(square) & (square <= BOUND**2 + _SLACK)
    if not np.all(possible & (variance >= -_SLACK)):
        raise MomentsRefused("the model's moments are such as no loans can have")
    return mean, np.maximum(np.sqrt(np.maximum(variance, 0)), LEAST_WIDTH)


def standardised(features: Floats, mean: Floats, square: Floats) -> NDArray[np.float32]:
    """Return features [n, P] in units of these moments, float32 for training.

    Raises:
        MomentsRefused: see `scale_of`.
    """
    centre, width = scale_of(mean, square)
    return ((features - centre) / width).astype(np.float32)
