"""The network that everybody starts from: fixed by a seed, and made without torch.

`python -m scans.initial_model --out X.npz` writes it, so that members can agree on its digest
before the first round.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]

# Two convolutions with a pooling each, and one linear layer: 9,098 parameters.
SHAPES = {
    "first.weight": (8, 1, 3, 3),
    "first.bias": (8,),
    "second.weight": (16, 8, 3, 3),
    "second.bias": (16,),
    "last.weight": (10, 16 * 7 * 7),
    "last.bias": (10,),
}


def initial_arrays(seed: int) -> Arrays:
    """Return the parameters by name, float32, uniform in ±1/sqrt(inputs) as torch's own."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for name, shape in SHAPES.items():
        inputs = np.prod(SHAPES[f"{name.partition('.')[0]}.weight"][1:])
        bound = 1 / np.sqrt(inputs)
        arrays[name] = draw.uniform(-bound, bound, shape).astype(np.float32)
    return arrays


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the initial model."""
    parser = argparse.ArgumentParser(prog="scans.initial_model", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="X.npz")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with options.out.open("wb") as file:
        np.savez(file, allow_pickle=False, **initial_arrays(options.seed))
    print(f"{options.out}: seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
