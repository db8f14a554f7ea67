"""Flower's Krum in plain text; see `benchmarks.peers.flower_robust`.

The update that is nearest to its n - f - 2 neighbours, where a fifth of the clients, f, may lie.
Flower takes the distances from a float32 Gram matrix of the parameters themselves, which are much
larger than their differences. `largest_error` compares with the choice in float64, and is as large
as an update where Flower chose another one.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from flwr.serverapp.strategy import Krum
from numpy.typing import NDArray

from benchmarks.peers.figures import main
from benchmarks.peers.flower_robust import TILE, Updates, measure_strategy

FAULTY = 0.2


def chosen(updates: Updates, faulty: int) -> NDArray[np.float64]:
    """Return Krum's choice, with distances in float64."""
    products = np.zeros((len(updates), len(updates)))
    for start in range(0, len(updates[0]), TILE):
        rows = np.stack([values[start : start + TILE] for values in updates]).astype(np.float64)
        rows -= rows[0].copy()  # distances are the same, and less is lost to rounding
        products += rows @ rows.T
    norms = np.diag(products)
    distances = np.sort(norms[:, None] + norms[None, :] - 2 * products, axis=1)
    # An update's distance to itself comes first.
    scores = distances[:, 1 : max(1, len(updates) - faulty - 2) + 1].sum(axis=1)
    return updates[int(np.argmin(scores))].astype(np.float64)


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of Krum."""
    faulty = int(FAULTY * clients)
    return measure_strategy(
        Krum(num_malicious_nodes=faulty),
        lambda updates: chosen(updates, faulty),
        clients,
        parameters,
        repeat,
    )


if __name__ == "__main__":
    sys.exit(main("flower_krum", measure))
