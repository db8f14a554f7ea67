"""What must come out of a round, computed again: plain numpy, and none of the product's code.

SPEC.md, sections 11.2 and 11.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one client has sealed: what it learned, and from how many examples."""

    step: Numbers
    num_examples: int


class Arithmetic:
    """The model, release after release. Every bit of it is said by the specification."""

    def __init__(self, first: Numbers, *, max_abs: float, cap: int, uniform: bool, momentum: float):
        """Begin with `first`; `momentum` 0 is no server optimiser, else one of learning rate 1."""
        self.model = first
        self._exponent = math.floor(math.log2(2.0**50 / max_abs))
        self._cap, self._uniform, self._momentum = cap, uniform, momentum
        self._velocity = np.zeros(first.shape, np.float64)

    def release(self, updates: Mapping[str, Update]) -> Numbers:
        """Average, step, and return the new model."""
        weights = {
            name: 1 if self._uniform else min(update.num_examples, self._cap)
            for name, update in updates.items()
        }
        scale, total = 2.0**self._exponent, sum(weights.values())
        summed = np.zeros(self.model.shape, np.int64)
        for name, update in updates.items():
            factor = weights[name] / total * scale
            summed += np.rint(update.step.astype(np.float64) * factor).astype(np.int64)
        moved = summed / scale
        if self._momentum:
            moved = self._momentum * self._velocity + moved
            self._velocity = moved.astype(np.float32).astype(np.float64)  # as it is remembered
        self.model = (moved + self.model.astype(np.float64)).astype(np.float32)
        return self.model


class Guard:
    """Two releases on one model must differ by nobody, or by `min_cohort` organisations."""

    def __init__(self, owners: Mapping[str, str], min_cohort: int) -> None:
        self._owners, self._min_cohort = owners, min_cohort
        self._released: list[tuple[bytes, frozenset[str]]] = []
        self._cut_off: list[tuple[bytes, frozenset[str]]] = []

    def refuses(self, model: bytes, clients: frozenset[str]) -> bool:
        """Say whether `clients` are too close to an earlier release on `model`."""
        return self._too_close(model, clients, self._released)

    def may_refuse(self, model: bytes, clients: frozenset[str]) -> bool:
        """Say whether they are too close to what may have been released."""
        return self._too_close(model, clients, self._cut_off)

    def _too_close(
        self,
        model: bytes,
        clients: frozenset[str],
        released: Sequence[tuple[bytes, frozenset[str]]],
    ) -> bool:
        return any(
            0 < len(differing) < self._min_cohort
            for on, earlier in released
            if on == model
            for differing in (
                {self._owners[c] for c in earlier ^ clients},
                {self._owners[c] for c in earlier} ^ {self._owners[c] for c in clients},
            )
        )

    def release(self, model: bytes, clients: frozenset[str]) -> None:
        """Remember a release on `model`."""
        self._released.append((model, clients))

    def may_have_released(self, model: bytes, clients: frozenset[str]) -> None:
        """Remember what a restart may have cut off: that nobody has it only its host can say."""
        self._cut_off.append((model, clients))
