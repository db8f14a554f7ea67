"""What one bank does in one round: its moments once, then optimiser steps on its training loans.

Rules:
  * A round depends on its arguments alone: parameters, loans, settings, seed. No state is kept.
    The optimiser starts afresh every round, for each Flower message may be a new process.
  * The loss is the plain log loss. Bad loans are not given more weight, so that what the model says
    is a probability (metrics.py).
  * torch's global generator is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from bank.data import BankData, Rows
from bank.metrics import log_loss
from bank.moments import moments_of, standardised
from bank.parameters import Parameters

Seed = int | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What a bank does in a round: so many steps of Adam, on batches of so many loans."""

    updates: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        """Refuse what is no training."""
        if self.updates < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(f"updates, batch size and learning rate must be positive: {self}")


class LoanModel(torch.nn.Module):
    """Logistic regression on standardised features. The sigmoid is in the loss."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(parameters.weight.copy()))
        self.bias = torch.nn.Parameter(torch.from_numpy(parameters.bias.copy()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits [n] for standardised features [n, P]."""
        return torch.nn.functional.linear(features, self.weight, self.bias).squeeze(1)


def with_moments(parameters: Parameters, rows: Rows) -> Parameters:
    """Return the parameters with the moments of these loans."""
    mean, square = moments_of(rows.features)
    return replace(parameters, mean=mean, square=square)


def trained(parameters: Parameters, rows: Rows, steps: Steps, seed: Seed) -> Parameters:
    """Return the parameters after one round's steps; the moments stay.

    Raises:
        MomentsRefused: the moments are such as no loans can have.
    """
    model = LoanModel(parameters)
    features = torch.from_numpy(standardised(rows.features, parameters.mean, parameters.square))
    labels = torch.from_numpy(rows.labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=steps.learning_rate)
    for chosen in _batches(len(labels), steps, seed):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model(features[chosen]), labels[chosen]
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return replace(
        parameters,
        weight=model.weight.detach().numpy().copy(),
        bias=model.bias.detach().numpy().copy(),
    )


def local_round(parameters: Parameters, bank: BankData, steps: Steps, seed: Seed) -> Parameters:
    """Return what the bank answers with to a model: its moments where there are none, or training.

    Args:
        parameters: the model that came; not changed.
        bank: of whose loans those to test are not looked at.
        steps: how it trains.
        seed: fixes the shuffles.
    """
    if not parameters.prepared:
        return with_moments(parameters, bank.train)
    return trained(parameters, bank.train, steps, seed)


def validation_loss(parameters: Parameters, bank: BankData) -> float:
    """Return the log loss on the bank's validation loans, by which the best round is found."""
    return log_loss(parameters.logits(bank.validation.features), bank.validation.labels)


def _batches(rows: int, steps: Steps, seed: Seed) -> list[NDArray[np.int64]]:
    """Deal shuffled rows into batches, the last of a shuffle smaller, until there are enough."""
    draw = np.random.default_rng(seed)
    batches: list[NDArray[np.int64]] = []
    while len(batches) < steps.updates:
        order = draw.permutation(rows)
        batches += [order[at : at + steps.batch_size] for at in range(0, rows, steps.batch_size)]
    return batches[: steps.updates]
