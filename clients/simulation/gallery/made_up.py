"""Images without a data set: ten shapes, moved about, faded and covered with noise.

They stand for nothing. They are about as hard for the gallery's network as Fashion-MNIST is: after
ten rounds it tells seven of eight apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 14
_CLASSES = 10
_BLOBS = 4
_SHIFT = 1
_NOISE = 0.35


def draw_images(
    rows: int, *, seed: int, part: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images [rows, 196], from 0 to 1, and their classes [rows].

    Args:
        rows: how many.
        seed: which; the ten shapes are the same for every seed.
        part: 0, 1, ... for sets that share no image.
    """
    draw = np.random.default_rng([seed, part])
    labels = draw.integers(0, _CLASSES, size=rows)
    shapes = _shapes()[labels]
    images = np.empty((rows, SIDE, SIDE), np.float32)
    for at, (down, right) in enumerate(draw.integers(-_SHIFT, _SHIFT + 1, size=(rows, 2))):
        images[at] = np.roll(shapes[at], (down, right), axis=(0, 1))
    images *= draw.uniform(0.4, 1.0, size=(rows, 1, 1)).astype(np.float32)
    images += draw.normal(0, _NOISE, size=images.shape).astype(np.float32)
    return np.clip(images, 0, 1).reshape(rows, -1), labels.astype(np.int64)


def _shapes() -> NDArray[np.float32]:
    """Return ten shapes [10, 14, 14]: each a few blobs, at fixed places of their own."""
    draw = np.random.default_rng(20)
    down, right = np.mgrid[:SIDE, :SIDE]
    shapes = np.zeros((_CLASSES, SIDE, SIDE), np.float32)
    for shape in shapes:
        for y, x, width in draw.uniform((2, 2, 1.0), (12, 12, 2.0), size=(_BLOBS, 3)):
            shape += np.exp(-((down - y) ** 2 + (right - x) ** 2) / (2 * width**2))
    return np.minimum(shapes, 1)
