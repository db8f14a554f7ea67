"""The model: logistic regression from 13 features to one logit, as FLamby's baseline.

Parameters travel as a list of numpy arrays in the order of `initial_model.NAMES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hospital.data import FEATURES
from hospital.metrics import Float32Array


class HeartModel(torch.nn.Module):
    """One linear layer, zero until `model_from` fills it. The sigmoid is in the loss."""

    def __init__(self) -> None:
        super().__init__()
        # By way of "meta": torch's own start would draw from its global generator.
        self.linear = torch.nn.Linear(len(FEATURES), 1, device="meta").to_empty(device="cpu")
        for parameter in self.linear.parameters():
            torch.nn.init.zeros_(parameter)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits [n] for normalised features [n, 13]."""
        logits: torch.Tensor = self.linear(features).squeeze(1)
        return logits


def model_from(parameters: Sequence[Float32Array]) -> HeartModel:
    """Return a model with these parameters (copied)."""
    model = HeartModel()
    with torch.no_grad():
        for own, given in zip(model.parameters(), parameters, strict=True):
            if tuple(own.shape) != given.shape:
                raise ValueError(f"parameter has shape {given.shape}, want {tuple(own.shape)}")
            own.copy_(torch.tensor(given))
    return model


def parameters_of(model: HeartModel) -> list[Float32Array]:
    """Return the model's parameters (copied)."""
    return [own.detach().numpy().copy() for own in model.parameters()]
