"""What the clients have trained, as bytes: the same for FedEnclave and for its peers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TENSOR = "parameters"
"""One flat tensor: the kindest case for Flower, whose cost grows with their number."""


def first_parameters(count: int) -> NDArray[np.float32]:
    """Return the agreed first model."""
    return np.random.default_rng(0).standard_normal(count, dtype=np.float32)


def trained_parameters(first: NDArray[np.float32], client: int) -> NDArray[np.float32]:
    """Return what client number `client` has after training."""
    step = np.random.default_rng(client + 1).standard_normal(len(first), dtype=np.float32)
    return first + np.float32(0.01) * step


def num_examples(client: int) -> int:
    """Return on how many examples, so that the mean is a weighted one."""
    return 100 + client
