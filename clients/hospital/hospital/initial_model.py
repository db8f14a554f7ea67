"""The model everybody starts from: fixed by a seed, and made without torch.

`python -m hospital.initial_model --out X.npz` writes it, so that members can agree on its digest
before the first round. The same seed gives the same bytes on every machine: the draws are numpy's
PCG64, uniform in ±1/sqrt(13) as in torch's own Linear layer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hospital.data import FEATURES
from hospital.metrics import Float32Array

NAMES = ("linear.weight", "linear.bias")


def initial_parameters(seed: int) -> list[Float32Array]:
    """Return weight [1, 13] and bias [1], float32."""
    draw = np.random.default_rng(seed)
    bound = 1 / np.sqrt(len(FEATURES))
    shapes = ((1, len(FEATURES)), (1,))
    return [draw.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes]


def write_parameters(parameters: Sequence[Float32Array], path: Path) -> None:
    """Write a model as an .npz file with the names of NAMES."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(zip(NAMES, parameters, strict=True)))


def read_parameters(path: Path) -> list[Float32Array]:
    """Read what `write_parameters` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name].astype(np.float32, copy=False) for name in NAMES]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the initial model."""
    parser = argparse.ArgumentParser(prog="hospital.initial_model", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="X.npz")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_parameters(initial_parameters(options.seed), options.out)
    print(f"{options.out}: {len(FEATURES) + 1} parameters, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
