"""A robust strategy of Flower's, in two ways: what the peers FedMedian, FedTrimmedAvg, Krum share.

"arrived" begins with the objects of each client's reply that have arrived at the ServerApp, as in
`benchmarks.aggregation`: Flower inflates them to messages, and `aggregate_train` makes an
ArrayRecord of these. "inflated" begins with messages that are inflated already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from benchmarks.flower_messages import (
    averaged,
    averaged_messages,
    inflated,
    parameters_of,
    reply_message,
    sent,
)
from benchmarks.peers.figures import ARRIVED, Way, all_trained, figures, time_ways

TILE = 1 << 20

Updates = Sequence[NDArray[np.float32]]


def measure_strategy(
    strategy: FedAvg,
    expected: Callable[[Updates], NDArray[np.float64]],
    clients: int,
    parameters: int,
    repeat: int,
) -> dict[str, Any]:
    """Return the figures of a strategy; `expected` gives what it should from all updates."""
    trained = all_trained(clients, parameters)
    right = expected(trained)
    replies = [sent(reply_message(values, i)) for i, values in enumerate(trained)]
    del trained
    ways = {
        ARRIVED: Way(run=lambda _: averaged(replies, strategy), parameters=parameters_of),
        "inflated": Way(
            prepare=lambda: [inflated(reply) for reply in replies],
            run=lambda messages: averaged_messages(messages, strategy),
            parameters=parameters_of,
        ),
    }
    seconds, error = time_ways(ways, repeat, right)
    size = sum(map(len, replies[0].objects.values()))
    return figures(
        seconds=seconds,
        largest_error=error,
        packages=("flwr",),
        wire=size / (4 * parameters),
    )


def by_tile(
    updates: Updates, rule: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return what a coordinate-wise rule gives in float64, a tile at a time; `rule` may sort it."""
    return np.concatenate(
        [
            rule(np.stack([values[start : start + TILE] for values in updates]).astype(np.float64))
            for start in range(0, len(updates[0]), TILE)
        ]
    )
