"""The model's parameters as numpy arrays, and the ones that everybody starts from.

`python -m bank.parameters --out X.npz` writes the start, so that members can agree on its digest.
It has no seed: weights of zero, no moments, and a bias that says what everybody knows beforehand,
that about one loan in twenty is not paid back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.columns import FEATURES
from bank.moments import are_there, no_moments, standardised

NAMES = ("moments.mean", "moments.square", "linear.weight", "linear.bias")
FIRST_BIAS = -3.0
"""Log odds: a probability of 4.7 %."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameters:
    """What travels: mean and square [P] float64, weight [1, P] and bias [1] float32."""

    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Sequence[NDArray[np.generic]]) -> Parameters:
        """Take arrays in the order of NAMES.

        Raises:
            ValueError: they are not four, or one has another shape or type.
        """
        first = initial()
        for name, wanted, got in zip(NAMES, first.arrays(), arrays, strict=True):
            if (got.shape, got.dtype) != (wanted.shape, wanted.dtype):
                raise ValueError(
                    f"{name} is {got.dtype} {got.shape}, want {wanted.dtype} {wanted.shape}"
                )
        mean, square, weight, bias = arrays
        return cls(mean=mean, square=square, weight=weight, bias=bias)

    def arrays(self) -> list[NDArray[np.generic]]:
        """Return the arrays in the order of NAMES."""
        return [self.mean, self.square, self.weight, self.bias]

    @property
    def prepared(self) -> bool:
        """Whether there are moments: from then on the model is trained."""
        return are_there(self.square)

    def logits(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log odds [n] of features [n, P] on the agreed scale.

        Raises:
            MomentsRefused: the moments are such as no loans can have.
        """
        if not self.prepared:
            return np.full(len(features), float(self.bias[0]))
        inputs = standardised(features, self.mean, self.square)
        return np.float64(inputs @ self.weight[0] + self.bias[0])


def initial() -> Parameters:
    """Return the agreed start."""
    mean, square = no_moments()
    return Parameters(
        mean=mean,
        square=square,
        weight=np.zeros((1, len(FEATURES)), np.float32),
        bias=np.array([FIRST_BIAS], np.float32),
    )


def write_parameters(parameters: Parameters, path: Path) -> None:
    """Write a model as an .npz file with the names of NAMES."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        named = dict(zip(NAMES, parameters.arrays(), strict=True))
        np.savez(file, allow_pickle=False, **named)


def read_parameters(path: Path) -> Parameters:
    """Read what `write_parameters` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return Parameters.of([archive[name] for name in NAMES])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the agreed start."""
    parser = argparse.ArgumentParser(prog="bank.parameters", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="X.npz")
    options = parser.parse_args(arguments)
    write_parameters(initial(), options.out)
    count = sum(array.size for array in initial().arrays())
    print(f"{options.out}: {count} parameters, of which {2 * len(FEATURES)} are moments")
    return 0


if __name__ == "__main__":
    sys.exit(main())
