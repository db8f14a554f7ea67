"""A rival that a federation has to beat: ridge logistic regression, penalty by cross-validation.

Not a part of any federation: it is what a member can do alone, done properly. It needs no seed and
no number of epochs: Newton's method runs until it stands still, and the penalty comes from 5-fold
cross-validation on the rows that it is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOLDS = 5
# Multiplies half the sum of squared weights; the bias is free.
PENALTIES = tuple(float(value) for value in np.logspace(-2, 3, 11))
_STEPS = 50
_STILL = 1e-9


def cross_validated(features: Floats, labels: Floats) -> Floats:
    """Return the weights [P], then the bias, of the penalty with the least validation loss.

    Args:
        features: rows [n, P].
        labels: [n], 0 or 1; at least FOLDS of each (checked by the caller).
    """
    losses = [_validation_loss(features, labels, penalty) for penalty in PENALTIES]
    return fit(features, labels, PENALTIES[int(np.argmin(losses))])


def fit(features: Floats, labels: Floats, penalty: float) -> Floats:
    """Minimise the summed log loss plus penalty/2 times the squared weights, by Newton's method.

    Returns:
        The weights [P], then the bias.
    """
    inputs = np.column_stack((features, np.ones(len(labels))))
    # The bias gets a trace of a penalty, so that the matrix stays regular if a fold is separable.
    ridge = np.diag(np.append(np.full(features.shape[1], penalty), 1e-6))
    solution = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        logits = inputs @ solution
        probability = _sigmoid(logits)
        gradient = inputs.T @ (probability - labels) + ridge @ solution
        curvature = (inputs.T * (probability * (1 - probability))) @ inputs + ridge
        step = np.linalg.solve(curvature, gradient)
        # A long step from zero may overshoot; no log-odds moves by more than 5 at once.
        step /= max(1.0, float(np.abs(inputs @ step).max()) / 5)
        solution = solution - step
        if float(np.abs(step).max()) < _STILL:
            break
    return solution


def _validation_loss(features: Floats, labels: Floats, penalty: float) -> float:
    """Sum the log loss on each fold of a model fitted to the others.

    Each class is dealt round the folds in row order, so every fold has both.
    """
    fold = np.empty(len(labels), dtype=np.int64)
    for level in (0.0, 1.0):
        rows = np.flatnonzero(labels == level)
        fold[rows] = np.arange(len(rows)) % FOLDS
    total = 0.0
    for number in range(FOLDS):
        held = fold == number
        solution = fit(features[~held], labels[~held], penalty)
        logits = features[held] @ solution[:-1] + solution[-1]
        total += float(np.logaddexp(0, np.where(labels[held] > 0.5, -logits, logits)).sum())
    return total


def _sigmoid(logits: Floats) -> Floats:
    probability: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return probability
