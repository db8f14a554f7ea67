"""q-FedAvg as coefficients: updates of clients with a higher loss count more.

With loss F_k (1e-10 added, as in Flower), squared norm s_k of the update, L = 1 / learning rate:

    delta_k = F_k**q * L * (w - w_k)
    h_k     = q * F_k**(q - 1) * L**2 * s_k + L * F_k**q
    new     = w - sum delta_k / sum h_k  =  w + sum a_k (w_k - w)
    a_k     = F_k**q / sum_j F_j**q * (1 + q * L * s_j / F_j)

Every term of the denominator is at least F_j**q, so the coefficients' sum is at most 1 and the
exact sum of `fedenclave.enclave.fixed_point` cannot overflow. For q = 0 it is 1: the plain mean.

Powers are taken of the losses' ratios to the largest, which changes no coefficient and never
overflows.

Source: Li et al. 2020, "Fair resource allocation in federated learning", algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEAST_LOSS = 1e-10
"""What Flower adds to every loss, so that a loss of 0 can be divided by."""


def coefficients(
    squared_norms: Sequence[float],
    losses: Sequence[float],
    q: float,
    client_learning_rate: float,
) -> list[float]:
    """Return the K factors of the updates, positive or 0, whose sum is at most 1 but for rounding.

    Args:
        squared_norms: K numbers, finite, 0 or more.
        losses: K numbers, finite, 0 or more.
        q: 0 or more.
        client_learning_rate: positive.

    Raises:
        ValueError: a loss is negative or not finite.
    """
    for loss in losses:
        if not 0.0 <= loss < math.inf:
            raise ValueError(f"loss is {loss!r}, want a finite number, 0 or more")
    raised = [loss + _LEAST_LOSS for loss in losses]
    largest = max(raised)
    ratios = [float((loss / largest) ** q) for loss in raised]
    total = math.fsum(
        ratio * (1.0 + q * square / (client_learning_rate * loss))
        for ratio, square, loss in zip(ratios, squared_norms, raised, strict=True)
    )
    return [ratio / total for ratio in ratios]
