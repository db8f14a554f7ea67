"""How good predicted probabilities are: ranking, calibration, and what a bank can do with them.

One loan in twenty is bad, so whoever calls every loan good is right 95 % of the time: accuracy is
never given here. Nothing is weighed up or drawn again against that imbalance, for then a predicted
probability would not be one. What is given: how well loans are ranked (AUC, and the share of bad
loans among the riskiest tenth, which a bank would look at by hand), and how true the probabilities
are (Brier score, calibration error, log loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BINS = 10
TENTH = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Loans of similar predicted probability: how many, their mean prediction, the share of bad."""

    loans: int
    predicted: float
    bad: float


def auc(scores: Floats, labels: Floats) -> float | None:
    """Return the probability that a bad loan scores above a good one; ties count half.

    By ranks, exactly. None if one of the two kinds is missing.
    """
    bad = labels > 0.5
    pairs = int(bad.sum()) * int((~bad).sum())
    if not pairs:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    least = bad.sum() * (bad.sum() + 1) / 2
    return float((rank[bad].sum() - least) / pairs)


def brier(probabilities: Floats, labels: Floats) -> float:
    """Return the mean squared difference between probability and outcome."""
    return float(np.square(np.float64(probabilities) - labels).mean())


def log_loss(logits: Floats, labels: Floats) -> float:
    """Return the mean negative log likelihood in nats."""
    signed = np.where(labels > 0.5, -np.float64(logits), np.float64(logits))
    return float(np.logaddexp(0, signed).mean())


def probabilities(logits: Floats) -> NDArray[np.float64]:
    """Return the sigmoid, without overflow."""
    return 0.5 * (1 + np.tanh(np.float64(logits) / 2))


def reliability(probability: Floats, labels: Floats, bins: int = BINS) -> list[Bin]:
    """Return bins of as equal size as can be, from the least predicted probability to the largest.

    Equal sizes, not equal widths: nearly all loans are predicted to be bad with less than 20 %.
    """
    order = np.argsort(probability, kind="stable")
    return [
        Bin(
            loans=len(rows),
            predicted=float(np.mean(probability[rows], dtype=np.float64)),
            bad=float(np.mean(labels[rows], dtype=np.float64)),
        )
        for rows in np.array_split(order, bins)
        if len(rows)
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: |predicted - bad|, each loan counted once."""
    total = sum(one.loans for one in bins)
    return sum(one.loans * abs(one.predicted - one.bad) for one in bins) / total


def found_in_riskiest(scores: Floats, labels: Floats, share: float = TENTH) -> float:
    """Return which part of the bad loans is among the `share` with the highest scores."""
    count = max(1, round(share * len(scores)))
    riskiest = np.argsort(-np.float64(scores), kind="stable")[:count]
    return float(labels[riskiest].sum() / labels.sum())
