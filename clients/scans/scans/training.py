"""What a hospital does in a round: some epochs on its own pictures, read by torch's own loader.

Rules:
  * A round depends on its arguments alone. The optimiser starts afresh every round, for each Flower
    message is a new process.
  * torch's global generator is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from scans.holdings import Picture
from scans.initial_model import Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How everybody trains."""

    epochs: int
    batch_size: int
    learning_rate: float


class Network(torch.nn.Module):
    """Two convolutions, each with a pooling, and a linear layer, for 28 by 28 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 16, 3, padding=1)
        self.last = torch.nn.Linear(16 * 7 * 7, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the ten kinds' logits of pictures [n, 1, 28, 28]."""
        half = torch.nn.functional.max_pool2d(torch.relu(self.first(pictures)), 2)
        quarter = torch.nn.functional.max_pool2d(torch.relu(self.second(half)), 2)
        return self.last(quarter.flatten(1))


def network(arrays: Mapping[str, object]) -> Network:
    """Return the network with these parameters, copied."""
    made = Network()
    made.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return made


def arrays_of(trained: Network) -> Arrays:
    """Return a network's parameters by name."""
    return {name: value.detach().numpy().copy() for name, value in trained.state_dict().items()}


def train(arrays: Arrays, pictures: Dataset[Picture], setting: Setting, seed: int) -> Arrays:
    """Return the parameters after `setting.epochs` epochs of Adam."""
    trained = network(arrays)
    steps = torch.optim.Adam(trained.parameters(), lr=setting.learning_rate)
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(pictures, setting.batch_size, shuffle=True, generator=order)
    for _ in range(setting.epochs):
        for batch, kinds in loader:
            loss = torch.nn.functional.cross_entropy(trained(batch), kinds)
            steps.zero_grad()
            torch.autograd.backward(loss)
            steps.step()
    return arrays_of(trained)


def accuracy(arrays: Arrays, pictures: Dataset[Picture]) -> float:
    """Return the share of pictures whose kind is named."""
    judged, right, seen = network(arrays), 0, 0
    with torch.no_grad():
        for batch, kinds in DataLoader(pictures, 256):
            right += int((judged(batch).argmax(1) == kinds).sum())
            seen += len(kinds)
    return right / seen
