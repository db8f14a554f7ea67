"""The model's two arrays as Flower carries them, under the names that the federation agreed on."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Array, ArrayRecord

from hospital.initial_model import NAMES
from hospital.metrics import Float32Array


def named(parameters: Sequence[Float32Array]) -> ArrayRecord:
    """Return weight and bias as a record."""
    pairs = zip(NAMES, parameters, strict=True)
    return ArrayRecord({name: Array(values) for name, values in pairs})
