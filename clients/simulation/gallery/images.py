"""The images that the gallery trains on: Fashion-MNIST where it is installed, else made-up ones.

Fashion-MNIST (Xiao et al. 2017, MIT) comes with Debian's package `dataset-fashion-mnist`, or as the
same four files in a folder of one's own. Nothing is ever fetched.

Rules:
  * Which rows are taken depends on the seed alone, and no test row is ever trained on.
  * A folder that is named must hold the files: only the default falls back on made-up images.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery.made_up import draw_images

CLASSES = 10
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
MADE_UP = "made-up"

_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049
_MOST_ROWS = 1_000_000

Float32Array = NDArray[np.float32]
Labels = NDArray[np.int64]


class GalleryError(Exception):
    """The gallery cannot be made; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Rows of pixels from 0 to 1 and their classes.

    Attributes:
        name: what they are, for titles.
        train_images: [n, pixels] float32.
        train_labels: [n], 0 to 9.
        test_images: [m, pixels] float32.
        test_labels: [m].
    """

    name: str
    train_images: Float32Array
    train_labels: Labels
    test_images: Float32Array
    test_labels: Labels


def load_images(source: str, *, train_rows: int, test_rows: int, seed: int) -> Images:
    """Return some of the images.

    Args:
        source: a folder with Fashion-MNIST's four files, `made-up`, or empty for what is installed.
        train_rows: how many to train on.
        test_rows: how many to test on.
        seed: which.

    Raises:
        GalleryError: the folder's files are missing, damaged or too few.
    """
    if source == MADE_UP or (not source and not INSTALLED.is_dir()):
        train_images, train_labels = draw_images(train_rows, seed=seed, part=0)
        test_images, test_labels = draw_images(test_rows, seed=seed, part=1)
        name = "made-up images"
    else:
        folder = Path(source) if source else INSTALLED
        train_images, train_labels = _some(folder, "train", train_rows, seed)
        test_images, test_labels = _some(folder, "t10k", test_rows, seed)
        name = "Fashion-MNIST" if not source else f"images in {folder.name}"
    return Images(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _some(folder: Path, part: str, rows: int, seed: int) -> tuple[Float32Array, Labels]:
    images = _read_idx(folder / f"{part}-images-idx3-ubyte.gz", _IMAGES_MAGIC)
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte.gz", _LABELS_MAGIC)
    if len(images) != len(labels) or len(labels) < rows:
        raise GalleryError(
            f"{folder} has {len(images)} {part} images and {len(labels)} labels, "
            f"want as many of each and at least {rows}"
        )
    if labels.max() >= CLASSES:
        raise GalleryError(f"{folder} has a {part} label {labels.max()}, want 0 to {CLASSES - 1}")
    chosen = np.random.default_rng(seed).permutation(len(labels))[:rows]
    pixels = images[chosen].reshape(rows, -1).astype(np.float32) / np.float32(255)
    return pixels, labels[chosen].astype(np.int64)


def _read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """Return an IDX file's array of unsigned bytes (LeCun's format of MNIST)."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise GalleryError(
            f"{path} cannot be read: {error}",
            f"apt-get install {PACKAGE}, or --data {MADE_UP} to do without",
        ) from error
    dimensions = 3 if magic == _IMAGES_MAGIC else 1
    head = 4 + 4 * dimensions
    found = struct.unpack(f">{1 + dimensions}I", data[:head]) if len(data) >= head else (0, 0)
    shape = found[1:]
    size = int(np.prod(shape, dtype=object))
    if found[0] != magic or shape[0] > _MOST_ROWS or len(data) != head + size:
        raise GalleryError(f"{path} is not an IDX file of {dimensions} dimensions, or is cut short")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
