"""How good a model is: accuracy and AUC, in numpy, so that evaluation never waits for torch.

A model is its parameters: weight [1, 13] and bias [1], float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Accuracy at probability 0.5, AUC (None where undefined), and the number of test rows."""

    accuracy: float
    auc: float | None
    num_examples: int


def evaluate(
    parameters: Sequence[Float32Array], features: Float32Array, labels: Float32Array
) -> Evaluation:
    """Judge a model on normalised rows, features [n, 13] and labels [n] of 0 or 1."""
    weight, bias = parameters
    logits = features @ weight[0] + bias[0]
    correct = (logits > 0) == (labels > 0.5)
    return Evaluation(
        accuracy=float(correct.mean()), auc=auc(logits, labels), num_examples=len(labels)
    )


def auc(scores: NDArray[np.floating], labels: Float32Array) -> float | None:
    """Return the probability that an ill patient scores above a healthy one; ties count half.

    Exact: every pair is compared. None if one of the two classes is missing.
    """
    ill, healthy = scores[labels > 0.5], scores[labels <= 0.5]
    if len(ill) == 0 or len(healthy) == 0:
        return None
    above = np.count_nonzero(ill[:, None] > healthy[None, :])
    tied = np.count_nonzero(ill[:, None] == healthy[None, :])
    return (above + tied / 2) / (len(ill) * len(healthy))
