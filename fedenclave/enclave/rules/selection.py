"""Which updates Krum, Multi-Krum and Bulyan keep, from the squared distances of all pairs.

Sums are exact (`math.fsum`) before they are rounded, so a score does not depend on the order of the
updates. Of equal scores the lower index comes first.

Sources: Blanchard et al. 2017 (Krum, Multi-Krum); El Mhamdi et al. 2018 (Bulyan), whose selection
is Multi-Krum's, in one step, as in Flower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def krum_scores(distances: NDArray[np.float64], byzantine: int) -> list[float]:
    """Return each update's sum of the K - f - 2 smallest squared distances to others; at least one.

    Args:
        distances: [K, K], squared, symmetric, from `gram.distances`.
        byzantine: f, how many updates may lie.
    """
    clients = len(distances)
    nearest = max(1, clients - byzantine - 2)
    scores = []
    for index in range(clients):
        others = np.sort(np.delete(distances[index], index))
        scores.append(math.fsum(others[:nearest].tolist()))
    return scores


def select(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices of the `count` lowest scores, lowest first.

    Raises:
        ValueError: there are fewer scores.
    """
    if not 1 <= count <= len(scores):
        raise ValueError(f"count is {count}, want 1 to {len(scores)}")
    return sorted(range(len(scores)), key=lambda index: (scores[index], index))[:count]


def bulyan_selection(distances: NDArray[np.float64], byzantine: int) -> tuple[list[int], int]:
    """Return the K - 2f updates that Bulyan keeps, and how many values it averages: K - 4f.

    Args:
        distances: as for `krum_scores`.
        byzantine: f; K >= 4f + 3.

    Raises:
        ValueError: there are too few updates.
    """
    clients = len(distances)
    if clients < 4 * byzantine + 3:
        raise ValueError(f"{clients} updates, want {4 * byzantine + 3} or more")
    kept = clients - 2 * byzantine
    return select(krum_scores(distances, byzantine), kept), kept - 2 * byzantine
