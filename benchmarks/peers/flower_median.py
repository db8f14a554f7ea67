"""Flower's FedMedian in plain text; see `benchmarks.peers.flower_robust`.

The median of each coordinate, unweighted: `numpy.median` of all updates stacked.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedMedian

from benchmarks.peers.figures import main
from benchmarks.peers.flower_robust import by_tile, measure_strategy


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of FedMedian."""
    return measure_strategy(
        FedMedian(),
        lambda updates: by_tile(updates, lambda tile: np.median(tile, axis=0)),
        clients,
        parameters,
        repeat,
    )


if __name__ == "__main__":
    sys.exit(main("flower_median", measure))
