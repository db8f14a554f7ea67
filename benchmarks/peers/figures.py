"""What a peer's run gives: seconds by way, how far its model is off, bytes, versions, load.

A peer is timed in one or more *ways*, in turn, round after round; the first round is not counted.
Every peer has the way "arrived": from the bytes that its server would receive to the new model.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import timed
from benchmarks.trained import first_parameters, num_examples, trained_parameters

ARRIVED = "arrived"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to the model.

    Attributes:
        run: what is timed; takes what `prepare` returns.
        prepare: what is not, before every run.
        parameters: takes the flat parameters from what `run` returns; not timed.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None
    parameters: Callable[[Any], NDArray[Any]]


def time_ways(
    ways: Mapping[str, Way], repeat: int, expected: NDArray[np.float64]
) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each way, and the largest difference of any model to `expected`."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    error = 0.0
    for _ in range(repeat + 1):
        for name, way in ways.items():
            prepared = way.prepare()
            result, took = timed(lambda way=way, prepared=prepared: way.run(prepared))
            seconds[name].append(took)
            error = max(error, largest_difference(way.parameters(result), expected))
            # The next round must find the memory free, as a server's would be.
            del prepared, result
    return {name: found[1:] for name, found in seconds.items()}, error


def all_trained(clients: int, parameters: int) -> list[NDArray[np.float32]]:
    """Return what every client has after training."""
    first = first_parameters(parameters)
    return [trained_parameters(first, i) for i in range(clients)]


def true_mean(trained: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the weighted mean in float64."""
    total = np.zeros(len(trained[0]))
    for i, values in enumerate(trained):
        total += np.multiply(values, num_examples(i), dtype=np.float64)
    total /= sum(num_examples(i) for i in range(len(trained)))
    return total


def largest_difference(found: NDArray[Any], expected: NDArray[np.float64]) -> float:
    """Return the largest absolute difference; both must have the same shape."""
    assert found.shape == expected.shape, f"model has shape {found.shape}, want {expected.shape}"
    return float(np.max(np.abs(found - expected)))


def figures(
    *,
    seconds: Mapping[str, Sequence[float]],
    largest_error: float | None,
    packages: Sequence[str],
    wire: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a peer's figures.

    Args:
        seconds: of every counted round, by way.
        largest_error: the largest difference to what the rule gives in float64.
        packages: whose versions belong to the figures.
        wire: bytes that a client sends, for each byte of float32 parameters.
        more: what only this peer has.
    """
    return {
        "seconds": {way: list(found) for way, found in seconds.items()},
        "median": {way: statistics.median(found) for way, found in seconds.items()},
        "largest_error": largest_error,
        "wire": wire,
        "versions": {name: importlib.metadata.version(name) for name in (*packages, "numpy")},
        "load": os.getloadavg()[0],
        **more,
    }


def main(name: str, measure: Callable[[int, int, int], dict[str, Any]]) -> int:
    """Run one peer from the command line: print its figures as JSON, or write them to a file."""
    parser = argparse.ArgumentParser(prog=f"benchmarks.peers.{name}")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--parameters", type=int, default=25_600_000)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there instead")
    options = parser.parse_args()
    found = measure(options.clients, options.parameters, options.repeat)
    text = json.dumps(found, indent=2) + "\n"
    if options.json is None:
        print(text, end="")
    else:
        options.json.write_text(text, encoding="utf-8")
    return 0
