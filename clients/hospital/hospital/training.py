"""What one hospital does in one round: some optimiser steps on its own training rows.

Rules:
  * A round depends on its arguments alone: parameters, rows, settings, seed. No state is kept.
    The optimiser starts afresh every round, for each Flower message is a new process.
  * Rows are shuffled, dealt in batches to the last one (which may be smaller), and shuffled again
    until `updates` batches are used.
  * torch's global generator is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hospital.data import HospitalData
from hospital.metrics import Float32Array
from hospital.model import HeartModel, model_from, parameters_of

OPTIMISERS = ("adam", "sgd")
Seed = int | Sequence[int]


def train(
    model: HeartModel,
    hospital: HospitalData,
    *,
    updates: int,
    batch_size: int,
    learning_rate: float,
    optimiser: str,
    seed: Seed,
) -> None:
    """Take `updates` steps of `optimiser` ("adam" or "sgd") on the training rows, in place."""
    if optimiser not in OPTIMISERS:
        raise ValueError(f"optimiser is {optimiser!r}, want one of {OPTIMISERS}")
    if updates < 1 or batch_size < 1:
        raise ValueError(f"updates {updates} and batch size {batch_size} must be positive")
    features = torch.from_numpy(hospital.train_features)
    labels = torch.from_numpy(hospital.train_labels)
    kind = torch.optim.Adam if optimiser == "adam" else torch.optim.SGD
    steps = kind(model.parameters(), lr=learning_rate)
    draw = np.random.default_rng(seed)
    batches: list[torch.Tensor] = []
    for _ in range(updates):
        if not batches:
            order = torch.from_numpy(draw.permutation(len(labels)))
            batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        rows = batches.pop(0)
        logits = model(features[rows])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[rows])
        steps.zero_grad()
        torch.autograd.backward(loss)
        steps.step()


def local_round(
    parameters: Sequence[Float32Array],
    hospital: HospitalData,
    *,
    updates: int,
    batch_size: int,
    learning_rate: float,
    optimiser: str,
    seed: Seed,
) -> tuple[list[Float32Array], int]:
    """Train from `parameters` on one hospital.

    Args:
        parameters: weight [1, 13] and bias [1], float32; not changed.
        hospital: normalised rows, of which the test rows are not looked at.
        updates: optimiser steps, not epochs.
        batch_size: rows a step.
        learning_rate: step size.
        optimiser: "adam" or "sgd".
        seed: an int, or several (say seed, round, hospital), which fix the shuffles.

    Returns:
        The new parameters, and the number of training rows, which is the FedAvg weight.
    """
    model = model_from(parameters)
    train(
        model,
        hospital,
        updates=updates,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimiser=optimiser,
        seed=seed,
    )
    return parameters_of(model), len(hospital.train_labels)
