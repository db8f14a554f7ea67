"""Server optimisers: what makes the model's step of the combined update.

Pure arithmetic on one chunk, in float64. `optimiser_state` keeps what they remember.

Sources: Hsu et al. 2019 (momentum), Reddi et al. 2021 (adagrad, adam, yogi); Flower's bias
correction of adam, whose exponent is the number of the step plus one.

SPEC.md, section 11.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.aggregation import (
    Adagrad,
    Adam,
    Momentum,
    NoOptimiser,
    ServerOptimiser,
    Yogi,
)

Floats: TypeAlias = NDArray[np.float64]
Memory: TypeAlias = list[Floats]
Step: TypeAlias = Callable[[Floats, Memory, int], Floats]
"""Takes the combined update (shape [n]), the memory (arrays [n], changed in place) and the number
of the step (from 1); returns the step."""


def slots(optimiser: ServerOptimiser) -> int:
    """Return how many numbers the optimiser remembers of each parameter."""
    match optimiser:
        case NoOptimiser():
            return 0
        case Momentum() | Adagrad():
            return 1
        case Adam() | Yogi():
            return 2


def step_of(optimiser: ServerOptimiser) -> Step:
    """Return the function that makes the optimiser's step."""
    match optimiser:
        case NoOptimiser():
            return lambda update, _memory, _number: update
        case Momentum():
            return lambda update, memory, _: _momentum(optimiser, update, memory)
        case Adagrad():
            return lambda update, memory, _: _adagrad(optimiser, update, memory)
        case Adam():
            return lambda update, memory, number: _adam(optimiser, update, memory, number)
        case Yogi():
            return lambda update, memory, _: _yogi(optimiser, update, memory)


def _momentum(optimiser: Momentum, update: Floats, memory: Memory) -> Floats:
    velocity = memory[0]
    velocity *= optimiser.momentum
    velocity += update
    return optimiser.learning_rate * velocity


def _adagrad(optimiser: Adagrad, update: Floats, memory: Memory) -> Floats:
    squares = memory[0]
    squares += np.square(update)
    return optimiser.eta * update / (np.sqrt(squares) + optimiser.tau)


def _first_moment(beta: float, update: Floats, mean: Floats) -> Floats:
    mean *= beta
    mean += (1 - beta) * update
    return mean


def _adam(optimiser: Adam, update: Floats, memory: Memory, number: int) -> Floats:
    mean, squares = _first_moment(optimiser.beta_1, update, memory[0]), memory[1]
    squares *= optimiser.beta_2
    squares += (1 - optimiser.beta_2) * np.square(update)
    correction = np.sqrt(1 - optimiser.beta_2 ** (number + 1.0)) / (
        1 - optimiser.beta_1 ** (number + 1.0)
    )
    return optimiser.eta * float(correction) * mean / (np.sqrt(squares) + optimiser.tau)


def _yogi(optimiser: Yogi, update: Floats, memory: Memory) -> Floats:
    mean, squares = _first_moment(optimiser.beta_1, update, memory[0]), memory[1]
    new = np.square(update)
    squares -= (1 - optimiser.beta_2) * new * np.sign(squares - new)
    return optimiser.eta * mean / (np.sqrt(squares) + optimiser.tau)
