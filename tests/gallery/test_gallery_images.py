"""The gallery's images: read exactly or refused, and made up where there are none."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gallery import images
from gallery.images import GalleryError, Images, load_images
from gallery.made_up import draw_images

TRAIN, TEST = 30, 20


def idx(magic: int, values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


def write_set(folder: Path) -> Path:
    draw = np.random.default_rng(3)
    for part, rows in (("train", TRAIN), ("t10k", TEST)):
        pixels = draw.integers(0, 256, size=(rows, 28, 28), dtype=np.uint8)
        pixels[:, 0, 0] = labels = np.arange(rows, dtype=np.uint8) % 10
        write(folder / f"{part}-images-idx3-ubyte.gz", idx(2051, pixels))
        write(folder / f"{part}-labels-idx1-ubyte.gz", idx(2049, labels))
    return folder


def write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data))


def load(source: str, seed: int = 0) -> Images:
    return load_images(source, train_rows=20, test_rows=10, seed=seed)


def test_rows_keep_their_labels_and_pixels_go_from_0_to_1(tmp_path: Path) -> None:
    loaded = load(str(write_set(tmp_path)))
    assert (loaded.train_images.shape, loaded.test_images.shape) == ((20, 784), (10, 784))
    assert loaded.train_images.dtype == np.float32
    assert 0 <= loaded.train_images.min() <= loaded.train_images.max() <= 1
    for pixels, labels in (
        (loaded.train_images, loaded.train_labels),
        (loaded.test_images, loaded.test_labels),
    ):
        np.testing.assert_allclose(pixels[:, 0] * 255, labels, atol=1e-4)


def test_seed_chooses_the_rows(tmp_path: Path) -> None:
    folder = str(write_set(tmp_path))
    np.testing.assert_array_equal(load(folder, 1).train_images, load(folder, 1).train_images)
    assert not np.array_equal(load(folder, 1).train_images, load(folder, 2).train_images)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[:-1],
    "too long": lambda data: data + b"\0",
    "another magic": lambda data: b"\1" + data[1:],
    "no head": lambda data: data[:3],
    "empty": lambda data: b"",
    "enormous": lambda data: data[:4] + b"\xff" * 4 + data[8:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_damaged_file_is_refused_by_its_name(tmp_path: Path, file: str, damage: str) -> None:
    path = write_set(tmp_path) / file
    write(path, DAMAGE[damage](gzip.decompress(path.read_bytes())))
    with pytest.raises(GalleryError, match=file):
        load(str(tmp_path))


def test_file_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    whole = write_set(tmp_path).joinpath("train-images-idx3-ubyte.gz")
    for data in (b"plain", whole.read_bytes()[:-20]):
        whole.write_bytes(data)
        with pytest.raises(GalleryError, match="cannot be read"):
            load(str(tmp_path))


def test_unequal_too_few_or_unknown_labels_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path)
    with pytest.raises(GalleryError, match="at least 31"):
        load_images(str(folder), train_rows=31, test_rows=1, seed=0)
    path = folder / "train-labels-idx1-ubyte.gz"
    for labels, message in ((np.zeros(29, np.uint8), "29 labels"), (np.full(30, 10), "label 10")):
        write(path, idx(2049, labels.astype(np.uint8)))
        with pytest.raises(GalleryError, match=message):
            load(str(folder))


def test_folder_that_is_named_is_not_replaced_by_made_up_images(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="cannot be read") as refused:
        load(str(tmp_path / "absent"))
    assert "dataset-fashion-mnist" in refused.value.hint


def test_without_the_package_the_images_are_made_up_and_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(images, "INSTALLED", tmp_path / "absent")
    assert load("").name == load("made-up").name == "made-up images"


def test_with_the_package_the_images_are_fashion_mnist() -> None:
    if not images.INSTALLED.is_dir():
        pytest.skip("needs the images: apt-get install dataset-fashion-mnist")
    loaded = load_images("", train_rows=60_000, test_rows=10_000, seed=0)
    assert loaded.name == "Fashion-MNIST"
    assert np.bincount(loaded.train_labels).tolist() == [6000] * 10
    assert np.bincount(loaded.test_labels).tolist() == [1000] * 10


def test_made_up_images_are_the_same_everywhere_and_share_none_between_parts() -> None:
    one, labels = draw_images(200, seed=0, part=0)
    again, _ = draw_images(200, seed=0, part=0)
    other, _ = draw_images(200, seed=0, part=1)
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.float32
    assert set(labels.tolist()) == set(range(10))
    assert 0 <= one.min() <= one.max() <= 1
    assert not {row.tobytes() for row in one} & {row.tobytes() for row in other}
