"""Flower's FedTrimmedAvg in plain text; see `benchmarks.peers.flower_robust`.

The mean of each coordinate without its lowest and highest fifth (Flower's default), unweighted.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedTrimmedAvg
from numpy.typing import NDArray

from benchmarks.peers.figures import main
from benchmarks.peers.flower_robust import by_tile, measure_strategy

CUT = 0.2


def trimmed_mean(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the trimmed mean of each column, from float64 sums."""
    tile.sort(axis=0)
    cut = int(CUT * len(tile))
    mean: NDArray[np.float64] = tile[cut : len(tile) - cut].mean(axis=0)
    return mean


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of FedTrimmedAvg."""
    return measure_strategy(
        FedTrimmedAvg(beta=CUT),
        lambda updates: by_tile(updates, trimmed_mean),
        clients,
        parameters,
        repeat,
    )


if __name__ == "__main__":
    sys.exit(main("flower_trimmed_mean", measure))
