"""The geometric median as coefficients: the point with the least sum of distances to the updates.

Every iterate of the smoothed Weiszfeld algorithm is a mean of the updates with some coefficients a,
and all that a step needs of the updates is their inner products G:

    ||x_k - z||**2 = G_kk - 2 (G a)_k + a^T G a    for z = sum a_k x_k, sum a_k = 1.

So the updates are read once for G and once for the sum with the last coefficients, however many
steps are taken. Sums are `math.fsum`: they do not depend on the order of the updates.

This is the paper's algorithm over whole updates. OpenFL's geometric median (at most 4 steps,
smoothing 1e-5, tolerance 1e-6, fixed there) takes each tensor by itself, and a step weighs the
coefficients of the step before instead of the clients' weights, which favours a near update more
with every step.

Source: Pillutla, Kakade, Harchaoui 2022, "Robust aggregation for federated learning", algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def coefficients(
    gram: NDArray[np.float64],
    weights: Sequence[float],
    iterations: int,
    smoothing: float,
    tolerance: float,
) -> list[float]:
    """Return K coefficients, positive or 0, whose sum is 1 but for rounding.

    Args:
        gram: [K, K], inner products, from `gram.gram_floats`.
        weights: K positive weights.
        iterations: most steps.
        smoothing: least distance that a step divides by; positive.
        tolerance: relative change of the weighted sum of distances at which the steps end.
    """
    shares = _normalised(weights)
    found = shares
    distances = _distances(gram, found)
    objective = _dot(shares, distances)
    for _ in range(iterations):
        found = _normalised(
            [share / max(smoothing, d) for share, d in zip(shares, distances, strict=True)]
        )
        distances = _distances(gram, found)
        before, objective = objective, _dot(shares, distances)
        if abs(before - objective) <= tolerance * objective:
            break
    return found


def _normalised(values: Sequence[float]) -> list[float]:
    total = math.fsum(values)
    return [value / total for value in values]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _distances(gram: NDArray[np.float64], found: Sequence[float]) -> list[float]:
    """Return every update's distance to their mean with the coefficients `found`."""
    towards = [math.fsum(row) for row in (gram * np.array(found)).tolist()]
    square = _dot(found, towards)
    own = np.diagonal(gram).tolist()
    # Rounding may leave a little less than nothing of an update that is the mean.
    return [
        math.sqrt(max(0.0, math.fsum((norm, -2.0 * along, square))))
        for norm, along in zip(own, towards, strict=True)
    ]
