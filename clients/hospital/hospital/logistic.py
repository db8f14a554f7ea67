"""A hospital on its own, done properly: ridge logistic regression, penalty by cross-validation.

This is the baseline that a federation has to beat (fedenclave/demo/ridge.py). Test rows are never
looked at.

A hospital whose training rows hold fewer than `FOLDS` patients of a class cannot cross-validate;
it gets a constant that says what most of its patients are (Switzerland: ill).
"""

from __future__ import annotations

import numpy as np

from fedenclave.demo.ridge import FOLDS, cross_validated
from hospital.data import HospitalData
from hospital.metrics import Float32Array


def best_alone(hospital: HospitalData) -> list[Float32Array]:
    """Return weight [1, 13] and bias [1] of the cross-validated ridge model."""
    features = hospital.train_features.astype(np.float64)
    labels = hospital.train_labels.astype(np.float64)
    ill = int(labels.sum())
    if min(ill, len(labels) - ill) < FOLDS:
        bias = 1.0 if 2 * ill >= len(labels) else -1.0
        solution = np.append(np.zeros(features.shape[1]), bias)
    else:
        solution = cross_validated(features, labels)
    return [solution[None, :-1].astype(np.float32), solution[-1:].astype(np.float32)]
