"""The model and its data: a small network on made-up, unevenly spread points.

The data is generated from the partition number. It stands for nothing; the point is the app's form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES = 8


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def load_data(partition: int) -> tuple[DataLoader, DataLoader]:
    """Return a client's training and test points: each client sees its own part of the space."""
    generator = torch.Generator().manual_seed(1000 + partition)
    shift = torch.randn(FEATURES, generator=generator) * 0.5
    points = torch.randn(300, FEATURES, generator=generator) + shift
    labels = (points[:, :4].sum(1) > points[:, 4:].sum(1)).long()
    train = TensorDataset(points[:200], labels[:200])
    test = TensorDataset(points[200:], labels[200:])
    return DataLoader(train, batch_size=20, shuffle=True), DataLoader(test, batch_size=100)


def train(net: Net, loader: DataLoader, epochs: int, learning_rate: float) -> float:
    """Train in place and return the mean loss of the last epoch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    criterion = nn.CrossEntropyLoss()
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for points, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(points), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / len(loader)


def test(net: Net, loader: DataLoader) -> float:
    """Return the accuracy."""
    net.eval()
    right = count = 0
    with torch.no_grad():
        for points, labels in loader:
            right += int((net(points).argmax(1) == labels).sum())
            count += len(labels)
    return right / count
