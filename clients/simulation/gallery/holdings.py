"""Who holds which training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gallery.images import CLASSES, Labels

Rows = NDArray[np.int64]

ALPHA = 1.0
"""Of the Dirichlet distribution: each client has much of some classes and little of others."""

MINORITY_CLASSES = (8, 9)
"""Held by the minority alone; in Fashion-MNIST bags and ankle boots."""


def uneven(labels: Labels, clients: int, seed: int) -> list[Rows]:
    """Deal every row, class by class, in Dirichlet shares (Hsu et al. 2019). Sizes differ too."""
    draw = np.random.default_rng([seed, 1])
    held: list[list[Rows]] = [[] for _ in range(clients)]
    for label in range(CLASSES):
        rows = draw.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(draw.dirichlet([ALPHA] * clients)[:-1]) * len(rows)
        for client, part in zip(held, np.split(rows, ends.astype(int)), strict=True):
            client.append(part)
    return [np.concatenate(parts) for parts in held]


def with_minority(labels: Labels, clients: int, seed: int) -> list[Rows]:
    """Deal so that the last client holds two classes, which nobody else has.

    All hold equally many: the minority is small in number, not in rows.
    """
    draw = np.random.default_rng([seed, 2])
    own = np.isin(labels, MINORITY_CLASSES)
    majority = draw.permutation(np.flatnonzero(~own))
    each = min(len(majority) // (clients - 1), int(own.sum()))
    shared = np.split(majority[: each * (clients - 1)], clients - 1)
    return [*shared, draw.permutation(np.flatnonzero(own))[:each]]


def attackers(names: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Choose who attacks; a greater count keeps those of a smaller one."""
    order = np.random.default_rng([seed, 3]).permutation(len(names))
    return tuple(names[at] for at in sorted(order[:count].tolist()))
