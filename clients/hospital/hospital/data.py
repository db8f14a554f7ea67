"""One hospital's rows: how its file is read and written, and how it is normalised.

Rules:
  * A hospital node reads one file: its own, out of its sealed dataset or, where its owner lets it,
    in plain text. It is given as an open text file: where it lies is not known here.
  * Features come in one of two scales. "own": the mean and standard deviation of the hospital's
    own training rows, as FLamby has it; the pooled model and the pooled test use pooled ones.
    "agreed": constants written below, the same for everyone, which no patient's row entered.
  * With "own", every hospital looks average to the model, whether 38 % or all of its patients are
    ill, and one shared bias cannot be right for both. "agreed" keeps that difference visible.
  * An error names a file, a line and a column, never a patient's value.

Where the rows come from: uci.py.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
from numpy.typing import NDArray

HOSPITALS = ("cleveland", "hungary", "switzerland", "long-beach-va")
FEATURES = (
    *("age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak"),
    *("cp-2", "cp-3", "cp-4", "restecg-1", "restecg-2"),
)
COLUMNS = ("hospital", "split", *FEATURES, "disease")

Scale = Literal["own", "agreed"]
# Centre and width of each feature in round clinical numbers (years, mmHg, mg/dl, beats a minute,
# mm); an indicator becomes -1 or 1.
AGREED_CENTRE = np.array([55, 0.5, 130, 200, 0.5, 140, 0.5, 1, *[0.5] * 5])
AGREED_WIDTH = np.array([10, 0.5, 20, 100, 0.5, 25, 0.5, 1, *[0.5] * 5])
# FLamby adds this to a standard deviation: Switzerland's cholesterol is 0 in every row.
EPSILON = 1e-9
_HINT = "write the hospitals' files with: python -m hospital.uci --out DIR"


class HeartDataError(Exception):
    """The data is absent or malformed. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalRows:
    """One hospital's rows as measured, before normalisation.

    `features` [n, 13] float64, `labels` [n] float32 (1 is ill), `in_train` [n] bool.
    """

    name: str
    features: NDArray[np.float64]
    labels: NDArray[np.float32]
    in_train: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalData:
    """Normalised rows to train and test on: features [n, 13] and labels [n], all float32."""

    name: str
    train_features: NDArray[np.float32]
    train_labels: NDArray[np.float32]
    test_features: NDArray[np.float32]
    test_labels: NDArray[np.float32]


def normalise(rows: HospitalRows, scale: Scale = "own") -> HospitalData:
    """Return the rows in units of their own training statistics, or in the agreed units."""
    if scale == "agreed":
        features = ((rows.features - AGREED_CENTRE) / AGREED_WIDTH).astype(np.float32)
    elif scale == "own":
        train = rows.features[rows.in_train]
        width = train.std(axis=0, ddof=1) + EPSILON
        features = ((rows.features - train.mean(axis=0)) / width).astype(np.float32)
    else:
        raise ValueError(f"scale is {scale!r}, want own or agreed")
    return HospitalData(
        name=rows.name,
        train_features=features[rows.in_train],
        train_labels=rows.labels[rows.in_train],
        test_features=features[~rows.in_train],
        test_labels=rows.labels[~rows.in_train],
    )


def pool(federation: Sequence[HospitalRows]) -> HospitalRows:
    """Return all hospitals' rows as one: what federated learning is there to avoid."""
    return HospitalRows(
        name="pooled",
        features=np.concatenate([rows.features for rows in federation]),
        labels=np.concatenate([rows.labels for rows in federation]),
        in_train=np.concatenate([rows.in_train for rows in federation]),
    )


def load_hospital(path: Path | str, scale: Scale = "own") -> HospitalData:
    """Read one hospital's own file, written by `write_hospital`, and normalise it.

    Raises:
        HeartDataError: the file is absent or not of that form.
    """
    return normalise(load_rows(Path(path)), scale)


def load_rows(path: Path) -> HospitalRows:
    """Read one hospital's own file as measured.

    Raises:
        HeartDataError: as `load_hospital`.
    """
    if not path.is_file():
        raise HeartDataError(f"hospital file not found: {path}", _HINT)
    with path.open(newline="", encoding="utf-8") as file:
        return read_rows(file, path.name)


def read_rows(file: TextIO, name: str) -> HospitalRows:
    """Read one hospital's open file; `name` is what messages call it.

    Raises:
        HeartDataError: it is not of that form.
    """
    try:
        header, *lines = list(csv.reader(file)) or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise HeartDataError(f"{name} is no csv file of text", _HINT) from error
    if tuple(header) != COLUMNS:
        raise HeartDataError(f"{name} has other columns than {','.join(COLUMNS)}", _HINT)
    if not lines:
        raise HeartDataError(f"{name} has no rows", _HINT)
    values = np.empty((len(lines), len(FEATURES) + 1))
    for number, line in enumerate(lines):
        if len(line) != len(COLUMNS):
            where = f"{name} line {number + 2}"
            raise HeartDataError(f"{where} has {len(line)} columns, want {len(COLUMNS)}", _HINT)
        for place, column in enumerate(COLUMNS[2:]):
            values[number, place] = _number(line[place + 2], name, number + 2, column)
    names, splits = {line[0] for line in lines}, [line[1] for line in lines]
    if len(names) != 1 or not names <= set(HOSPITALS):
        raise HeartDataError(f"{name} must hold the rows of one of {HOSPITALS}", _HINT)
    if set(splits) != {"train", "test"}:
        raise HeartDataError(f"{name} must hold train and test rows and no others", _HINT)
    if not np.isin(values[:, -1], (0, 1)).all():
        raise HeartDataError(f"{name} column disease must be 0 or 1", _HINT)
    return HospitalRows(
        name=names.pop(),
        features=values[:, :-1],
        labels=values[:, -1].astype(np.float32),
        in_train=np.array([split == "train" for split in splits]),
    )


def write_hospital(rows: HospitalRows, folder: Path) -> Path:
    """Write one hospital's rows to `folder`/`name`.csv and return that path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{rows.name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for features, label, in_train in zip(
            rows.features, rows.labels, rows.in_train, strict=True
        ):
            split = "train" if in_train else "test"
            numbers = [f"{value:g}" for value in (*features, label)]
            writer.writerow((rows.name, split, *numbers))
    return path


def _number(text: str, file: str, line: int, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise HeartDataError(f"{file} line {line} column {column} is not a number", _HINT)
    return value
