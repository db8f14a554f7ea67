"""The gallery's images as folders of PNG files, as hospitals with scans have them on their disks.

`python -m gallery.folders --out DIR --seed N` writes DIR/HOSPITAL/PART/KIND/NUMBER.png for three
hospitals. Nobody's scans: pictures of clothes (Fashion-MNIST), or made-up shapes where that is not
installed. What is like at hospitals is that each sees other kinds more often than its neighbour.

Rules:
  * Every picture is at one hospital, and in one part of it.
  * Test pictures come from the set's own test part, in the hospital's own mixture of kinds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gallery.images import CLASSES, Float32Array, GalleryError, Images, Labels, load_images

SIDE = 28
TRAIN_PICTURES: Mapping[str, int] = {"north": 600, "south": 400, "west": 200}
VALIDATION_PICTURES, TEST_PICTURES = 100, 300
MIXTURE = 0.5
"""Dirichlet's parameter: the smaller, the more a hospital sees of few kinds."""

_TRAIN_ROWS, _TEST_ROWS = 20_000, 10_000


def mixtures(seed: int) -> dict[str, NDArray[np.float64]]:
    """Return how often each hospital sees each kind."""
    draw = np.random.default_rng([seed, 0])
    return {name: draw.dirichlet(np.full(CLASSES, MIXTURE)) for name in TRAIN_PICTURES}


def write_folders(images: Images, folder: Path, seed: int) -> dict[str, int]:
    """Write every hospital's folder; return how many pictures each has."""
    draw = np.random.default_rng([seed, 1])
    train = _by_kind(images.train_labels, draw)
    test = _by_kind(images.test_labels, draw)
    written = dict.fromkeys(TRAIN_PICTURES, 0)
    for name, mixture in mixtures(seed).items():
        parts = (
            ("train", images.train_images, train, TRAIN_PICTURES[name]),
            ("validation", images.train_images, train, VALIDATION_PICTURES),
            ("test", images.test_images, test, TEST_PICTURES),
        )
        for part, pixels, left, count in parts:
            wanted = draw.multinomial(count, mixture)
            for kind, number in enumerate(wanted):
                # Taken off the end, so that nobody else gets them; a kind may run out.
                rows, left[kind] = left[kind][:number], left[kind][number:]
                written[name] += len(rows)
                _write(pixels, rows, folder / name / part / f"kind-{kind}")
    return written


def _by_kind(labels: Labels, draw: np.random.Generator) -> list[list[int]]:
    order = draw.permutation(len(labels))
    return [[int(row) for row in order if labels[row] == kind] for kind in range(CLASSES)]


def _write(pixels: Float32Array, rows: Sequence[int], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        side = int(np.sqrt(pixels.shape[1]))
        picture = (pixels[row].reshape(side, side) * 255).round().clip(0, 255).astype(np.uint8)
        enlarged = np.kron(picture, np.ones((SIDE // side, SIDE // side), np.uint8))
        Image.fromarray(enlarged).save(folder / f"{row:05d}.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the folders of PNG files."""
    parser = argparse.ArgumentParser(prog="gallery.folders", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="", metavar="DIR", help="see gallery.images")
    parser.add_argument("--json", action="store_true", help="as always; for symmetry")
    options = parser.parse_args(arguments)
    try:
        images = load_images(
            options.data, train_rows=_TRAIN_ROWS, test_rows=_TEST_ROWS, seed=options.seed
        )
        written = write_folders(images, options.out, options.seed)
    except GalleryError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    print(json.dumps({"images": images.name, "pictures": written}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
