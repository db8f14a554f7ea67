"""The model's four arrays as Flower carries them, under the names that the federation agreed on."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord

from bank.parameters import NAMES, Parameters

VALIDATION_LOSS = "validation-loss"
"""The metric whose mean over the banks the manifest lets out."""

RUN = "run.json"
"""The file with a run's seed and validation losses, beside its models."""


def named(parameters: Parameters) -> ArrayRecord:
    """Return the parameters as a record."""
    pairs = zip(NAMES, parameters.arrays(), strict=True)
    return ArrayRecord({name: Array(values) for name, values in pairs})


def unnamed(record: ArrayRecord) -> Parameters:
    """Return the parameters in a record.

    Raises:
        KeyError, ValueError: it is not of this model.
    """
    return Parameters.of([record[name].numpy() for name in NAMES])
