"""The model and how it is trained: one hidden layer, plain SGD, in numpy.

Rules:
  * A result depends on the arguments alone: parameters, rows, settings, seed.
  * Nothing raises where the parameters are absurd. An attacked model may hold enormous numbers, and
    what training makes of them (infinities, NaN) is for the client's own check to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedenclave.simulation.federation import Arrays
from gallery.images import CLASSES, Float32Array, Labels

HIDDEN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a client trains in one round."""

    epochs: int
    batch_size: int
    learning_rate: float


def first_model(pixels: int, seed: int) -> Arrays:
    """Return He's random start for ReLU, with biases of zero."""
    draw = np.random.default_rng(seed)
    return {
        "hidden": draw.normal(0, np.sqrt(2 / pixels), (pixels, HIDDEN)).astype(np.float32),
        "hidden-bias": np.zeros(HIDDEN, np.float32),
        "out": draw.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, CLASSES)).astype(np.float32),
        "out-bias": np.zeros(CLASSES, np.float32),
    }


def train(
    model: Arrays, images: Float32Array, labels: Labels, how: Training, seed: Sequence[int]
) -> Arrays:
    """Return the parameters after `how.epochs` of SGD on the cross entropy; `model` stays."""
    trained = {name: array.astype(np.float32) for name, array in model.items()}
    draw, rate = np.random.default_rng(seed), np.float32(how.learning_rate)
    wanted = np.eye(CLASSES, dtype=np.float32)[labels]
    with np.errstate(all="ignore"):
        for _ in range(how.epochs):
            order = draw.permutation(len(labels))
            for start in range(0, len(order), how.batch_size):
                rows = order[start : start + how.batch_size]
                for name, slope in _gradient(trained, images[rows], wanted[rows]).items():
                    trained[name] -= rate * slope
    return trained


def _gradient(model: Arrays, images: Float32Array, wanted: Float32Array) -> Arrays:
    hidden, logits = _forward(model, images)
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    slope = (likely / likely.sum(axis=1, keepdims=True) - wanted) / np.float32(len(wanted))
    back = slope @ model["out"].T
    back[hidden <= 0] = 0
    return {
        "hidden": images.T @ back,
        "hidden-bias": back.sum(axis=0),
        "out": hidden.T @ slope,
        "out-bias": slope.sum(axis=0),
    }


def _forward(model: Arrays, images: Float32Array) -> tuple[Float32Array, Float32Array]:
    hidden = np.maximum(images @ model["hidden"] + model["hidden-bias"], 0)
    return hidden, hidden @ model["out"] + model["out-bias"]


def accuracy(model: Arrays, images: Float32Array, labels: Labels) -> float:
    """Return the share of rows whose class the model names."""
    with np.errstate(all="ignore"):
        _, logits = _forward(model, images)
    return float((logits.argmax(axis=1) == labels).mean())
