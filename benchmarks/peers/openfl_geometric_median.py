"""OpenFL's geometric median in plain text: its GeometricMedian on the path of its weighted mean.

Counted, begun and ended as in `benchmarks.peers.openfl_mean`. OpenFL takes the median of each
tensor by itself, not of the whole model; with the one tensor of these benchmarks both are the same.
It makes four iterations at most (eps 1e-5, ftol 1e-6), weighted by examples. Each iteration divides
the weights of the one before by the distances, where Weiszfeld's algorithm divides the first ones:
`largest_error` is the difference to the true geometric median, in float64.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openfl.interface.aggregation_functions import GeometricMedian

from benchmarks.peers.figures import ARRIVED, Way, all_trained, figures, main, time_ways
from benchmarks.peers.openfl_mean import aggregated, joined, stream_of, task_results
from benchmarks.trained import num_examples

TILE = 1 << 20
ITERATIONS = 100


def true_geometric_median(trained: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the weighted geometric median in float64.

    Weiszfeld's iterates are weighted means of the updates, so that the updates' inner products are
    all that an iteration needs.
    """
    tiles = [slice(start, start + TILE) for start in range(0, len(trained[0]), TILE)]
    products = np.zeros((len(trained), len(trained)))
    for tile in tiles:
        rows = np.stack([values[tile] for values in trained]).astype(np.float64)
        rows -= rows[0].copy()  # distances are the same, and less is lost to rounding
        products += rows @ rows.T
    weights = np.array([num_examples(i) for i in range(len(trained))], np.float64)
    shares = weights / weights.sum()
    for _ in range(ITERATIONS):
        squared = np.diag(products) - 2 * products @ shares + shares @ products @ shares
        shares = weights / np.sqrt(squared)
        shares /= shares.sum()
    return np.concatenate(
        [shares @ np.stack([values[tile] for values in trained]) for tile in tiles]
    )


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of OpenFL's geometric median."""
    # NumPy 2.1 deprecates an argument that NoCompressionPipeline passes; 2.4 lacks it.
    warnings.simplefilter("ignore", DeprecationWarning)
    trained = all_trained(clients, parameters)
    expected = true_geometric_median(trained)
    streams = [stream_of(task_results(values, i)) for i, values in enumerate(trained)]
    del trained
    rule = GeometricMedian()
    way = Way(
        run=lambda _: aggregated((joined(stream) for stream in streams), rule),
        parameters=np.asarray,
    )
    seconds, error = time_ways({ARRIVED: way}, repeat, expected)
    return figures(
        seconds=seconds,
        largest_error=error,
        packages=("openfl", "protobuf"),
        wire=sum(map(len, streams[0])) / (4 * parameters),
    )


if __name__ == "__main__":
    sys.exit(main("openfl_geometric_median", measure))
