"""A hospital on its own, done properly: ridge logistic regression, penalty by cross-validation.

This is the baseline that a federation has to beat. It needs no seed and no number of epochs:
Newton's method runs until it stands still, and the penalty comes from 5-fold cross-validation on
the training rows. Test rows are never looked at.

A hospital whose training rows hold fewer than `FOLDS` patients of a class cannot cross-validate;
it gets a constant that says what most of its patients are (Switzerland: ill).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hospital.data import HospitalData
from hospital.metrics import Float32Array

FOLDS = 5
# Multiplies half the sum of squared weights; the bias is free.
PENALTIES = tuple(float(value) for value in np.logspace(-2, 3, 11))
_STEPS = 50
_STILL = 1e-9


def best_alone(hospital: HospitalData) -> list[Float32Array]:
    """Return weight [1, 13] and bias [1] of the cross-validated ridge model."""
    features = hospital.train_features.astype(np.float64)
    labels = hospital.train_labels.astype(np.float64)
    ill = int(labels.sum())
    if min(ill, len(labels) - ill) < FOLDS:
        bias = 1.0 if 2 * ill >= len(labels) else -1.0
        solution = np.append(np.zeros(features.shape[1]), bias)
    else:
        losses = [_validation_loss(features, labels, penalty) for penalty in PENALTIES]
        solution = fit(features, labels, PENALTIES[int(np.argmin(losses))])
    return [solution[None, :-1].astype(np.float32), solution[-1:].astype(np.float32)]


def fit(
    features: NDArray[np.float64], labels: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    """Minimise the summed log loss plus penalty/2 times the squared weights, by Newton's method.

    Returns:
        13 weights, then the bias.
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


def _validation_loss(
    features: NDArray[np.float64], labels: NDArray[np.float64], penalty: float
) -> float:
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


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    probability: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2))
    return probability
