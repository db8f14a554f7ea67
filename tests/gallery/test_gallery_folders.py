"""Pictures dealt to hospitals: each picture once, in the hospital's own mixture."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pillow is not installed: pip install 'fedenclave[demo]'")

from PIL import Image

from gallery import folders
from gallery.images import CLASSES, Images, load_images


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images("made-up", train_rows=4000, test_rows=3000, seed=0)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "TRAIN_PICTURES", {"north": 60, "south": 40, "west": 20})
    monkeypatch.setattr(folders, "VALIDATION_PICTURES", 20)
    monkeypatch.setattr(folders, "TEST_PICTURES", 30)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
    }


def test_every_picture_is_at_one_hospital_in_one_part(tmp_path: Path, images: Images) -> None:
    written = folders.write_folders(images, tmp_path, seed=5)
    assert written == {"north": 110, "south": 90, "west": 70}
    found = contents(tmp_path)
    assert len(found) == len(set(found.values())) == sum(written.values())
    for name in found:
        _, part, kind, _ = name.split("/")
        assert part in {"train", "validation", "test"}
        assert kind in {f"kind-{number}" for number in range(CLASSES)}
        picture = np.asarray(Image.open(tmp_path / name))
        assert (picture.shape, picture.dtype) == ((28, 28), np.uint8)


def test_a_seed_deals_the_same_again_and_another_deals_anew(tmp_path: Path, images: Images) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        folders.write_folders(images, tmp_path / name, seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_hospitals_see_kinds_in_their_own_mixture() -> None:
    mixtures = folders.mixtures(5)
    assert all(mixture.sum() == pytest.approx(1) for mixture in mixtures.values())
    assert not np.allclose(mixtures["north"], mixtures["south"], atol=0.1)


def test_a_folder_without_the_files_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "out"), "--data", str(tmp_path)]
    assert folders.main(words) == 1
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
