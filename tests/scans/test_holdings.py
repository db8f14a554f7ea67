"""Pictures out of a sealed dataset: decoded as they were, or refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedenclave.datasets.reader import SealedDataset
from scans.holdings import PARTS, ScansError, holdings
from tests.scans.conftest import PICTURES, sealed


def opened(folder: Path, plain: Path) -> SealedDataset:
    dataset = sealed(folder, plain).open()
    assert dataset is not None
    return dataset


def test_pictures_come_out_as_they_went_in_without_a_plaintext_file(
    tmp_path: Path, pictures: Path
) -> None:
    with opened(tmp_path / "node", pictures) as dataset:
        held = holdings(dataset)
        assert {part: len(held.parts[part]) for part in PARTS} == dict.fromkeys(PARTS, PICTURES)
        names = sorted(path.relative_to(pictures) for path in pictures.glob("train/*/*.png"))
        for place, name in enumerate(sorted(map(str, names), key=str.encode)):
            pixels, kind = held.parts["train"][place]
            assert np.array_equal(pixels[0] * 255, np.asarray(Image.open(pictures / name)))
            assert kind == int(name.split("/")[1].removeprefix("kind-"))
    assert not list((tmp_path / "node").rglob("*.png"))


def test_the_lineage_names_the_dataset_and_both_stages(tmp_path: Path, pictures: Path) -> None:
    with opened(tmp_path / "a", pictures) as one, opened(tmp_path / "b", pictures) as other:
        lineage = holdings(one).lineage
        assert lineage.stages[0].digest == one.digest
        assert [stage.name for stage in lineage.stages] == ["dataset", "decode-png", "scale"]
        assert lineage == holdings(one).lineage
        # The same pictures under another salt.
        assert lineage.digest != holdings(other).lineage.digest


def broken(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes()[:60])


def jpeg(picture: Path) -> None:
    Image.new("L", (28, 28)).save(picture, "JPEG")


def large(picture: Path) -> None:
    Image.new("L", (29, 28)).save(picture)


def text(picture: Path) -> None:
    picture.write_text("none")


@pytest.mark.parametrize("change", [broken, jpeg, large, text])
def test_what_is_no_picture_of_that_size_is_refused_by_name(
    tmp_path: Path, pictures: Path, change: object
) -> None:
    plain = shutil.copytree(pictures, tmp_path / "plain")
    name = min(
        map(str, (p.relative_to(plain) for p in plain.glob("train/*/*.png"))), key=str.encode
    )
    change(plain / name)  # type: ignore[operator]
    with opened(tmp_path / "node", plain) as dataset:
        first = holdings(dataset).parts["train"]
        with pytest.raises(ScansError, match=r"pixels, want|no PNG picture") as refused:
            first[0]
    assert name in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    "name",
    ["train/kind-0/a.jpg", "train/a.png", "a.png", "extra/kind-0/a.png", "train/kind-10/a.png"],
)
def test_a_file_that_does_not_belong_is_refused_and_not_passed_over(
    tmp_path: Path, pictures: Path, name: str
) -> None:
    plain = shutil.copytree(pictures, tmp_path / "plain")
    (plain / name).parent.mkdir(parents=True, exist_ok=True)
    (plain / name).write_bytes(b"x")
    with (
        opened(tmp_path / "node", plain) as dataset,
        pytest.raises(ScansError, match="no PART/KIND/NAME"),
    ):
        holdings(dataset)


def test_a_hospital_without_test_pictures_is_refused(tmp_path: Path, pictures: Path) -> None:
    plain = shutil.copytree(pictures, tmp_path / "plain")
    shutil.rmtree(plain / "test")
    with (
        opened(tmp_path / "node", plain) as dataset,
        pytest.raises(ScansError, match="no picture in test"),
    ):
        holdings(dataset)
