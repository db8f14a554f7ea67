"""FLamby's train/test split of one hospital's rows, without scikit-learn.

Rules:
  * 66 % of the rows train: floor(0.66 n) train, ceil(0.34 n) test.
  * The draw keeps the share of ill patients, where both classes have more than two rows;
    otherwise (Switzerland: one healthy patient) it is a plain shuffle.
  * FLamby seeds the draw with 43 for every hospital, so its split never depends on an experiment's
    seed. Other seeds give other splits, which is how baselines.py learns what one split is worth.

It makes the same draws, in the same order, from numpy's legacy generator as
`sklearn.model_selection.train_test_split(test_size=0.34, random_state=43, stratify=...)`, which
FLamby calls; compared with scikit-learn 1.9.1, the row sets are the same for all four hospitals.
`numpy.random.RandomState` is frozen by numpy's compatibility policy, therefore so is the split.

Source: FLamby (NeurIPS 2022 datasets track), `fed_heart_disease/dataset.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TRAIN_FRACTION = 0.66
SPLIT_SEED = 43
# FLamby stratifies only if every class has more than this many rows.
STRATIFY_ABOVE = 2


def train_mask(labels: NDArray[np.float32], seed: int = SPLIT_SEED) -> NDArray[np.bool_]:
    """Return which rows train; all others test.

    Args:
        labels: shape [n], 0 healthy or 1 ill, in the order of the source file.
        seed: FLamby's, unless another split is wanted.
    """
    total = len(labels)
    train_size = math.floor(TRAIN_FRACTION * total)
    test_size = math.ceil((1.0 - TRAIN_FRACTION) * total)
    draw = np.random.RandomState(seed)
    members = [np.flatnonzero(labels == level) for level in np.unique(labels)]
    mask = np.zeros(total, dtype=np.bool_)
    if len(members) < 2 or min(len(rows) for rows in members) <= STRATIFY_ABOVE:
        # The test rows are drawn first.
        mask[draw.permutation(total)[test_size : test_size + train_size]] = True
        return mask
    sizes = np.array([len(rows) for rows in members])
    train_sizes = _shares(sizes, train_size, draw)
    # The test shares are not used (train + test = all rows), but they may draw from the state.
    _shares(sizes - train_sizes, test_size, draw)
    for rows, count in zip(members, train_sizes, strict=True):
        mask[rows[draw.permutation(len(rows))[:count]]] = True
    return mask


def _shares(
    sizes: NDArray[np.int64], wanted: int, draw: np.random.RandomState
) -> NDArray[np.int64]:
    """Divide `wanted` rows among classes of `sizes` rows, in proportion.

    What rounding down leaves over goes to the largest remainders; equal remainders draw lots.
    """
    exact = sizes / sizes.sum() * wanted
    shares = np.floor(exact)
    left = int(wanted - shares.sum())
    remainders = exact - shares
    for value in sorted(set(remainders.tolist()), reverse=True):
        if left <= 0:
            break
        tied = np.flatnonzero(remainders == value)
        chosen = draw.choice(tied, size=min(len(tied), left), replace=False)
        shares[chosen] += 1
        left -= len(chosen)
    counts: NDArray[np.int64] = shares.astype(np.int64)
    return counts
