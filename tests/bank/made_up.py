"""Loans that nobody has taken: of the right form, drawn, and those who paid late do so again."""

from __future__ import annotations

import numpy as np

from bank.columns import COLUMNS, FEATURES, LABEL, LABELS, TEXTS
from bank.data import BankRows, parse_rows

NAMES = ("north", "south", "west")


def lines(loans: int, seed: int) -> list[list[str]]:
    """Return rows of texts in the order of COLUMNS and the label; a fifth of them are bad."""
    draw = np.random.default_rng(seed)
    made = []
    for number in range(loans):
        bad = number % 5 == 0
        row = []
        for column in COLUMNS:
            if column in TEXTS:
                row.append(str(draw.choice(TEXTS[column])))
            else:
                row.append(f"{_usual(column, late=bad and column == 'delinq_2yrs', draw=draw):.4f}")
        made.append([*row, LABELS[bad]])
    return made


def _usual(column: str, *, late: bool, draw: np.random.Generator) -> float:
    """Return a number of which the agreed scale makes one near 0; for who pays late near 2."""
    feature = next(feature for feature in FEATURES if feature.column == column)
    scaled = max(0.0, feature.centre + feature.width * (draw.normal() + 2 * late))
    return float(np.expm1(scaled)) if feature.of is np.log1p else 100 * scaled


def bank_rows(name: str, loans: int, seed: int) -> BankRows:
    """Return one bank's loans."""
    return parse_rows(name, f"{name}.csv", (*COLUMNS, LABEL), lines(loans, seed))


def federation() -> list[BankRows]:
    """Return three banks of different sizes."""
    sizes = (60, 150, 90)
    return [bank_rows(name, sizes[at], seed=at) for at, name in enumerate(NAMES)]
