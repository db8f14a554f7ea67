"""One bank's loans: how its file is read and written, and how they are split.

Rules:
  * A bank's node reads one file: its own (holdings.py).
  * A loan trains, validates or tests, and never two of these. Where the file does not say which
    (column split), it is drawn: see `deal`.
  * An error names a file, a line and a column, never what stands there.

Where the rows of the demonstration come from: lending_club.py.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bank.columns import COLUMNS, LABEL, LABELS, TEXTS, on_agreed_scale

SPLITS = ("train", "validation", "test")
SHARES = (0.6, 0.15)
"""Of the loans of each label: what trains, and what validates. The rest tests."""

SPLIT_SEED = 2016
"""The split that the demonstration's banks have in their files."""

ENCODING = "utf-8-sig"
"""What spreadsheets write is read, too."""

HEADER = ("split", *COLUMNS, LABEL)
_HINT = (
    "a header and one line a loan; clients/bank/README.md lists the columns. The demonstration's: "
    "python -m bank.lending_club --out DIR"
)


class LoanDataError(Exception):
    """The data is absent or malformed. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class BankRows:
    """One bank's loans as they are in its books.

    `table` [n, C] float64: COLUMNS, with words as their place in TEXTS. `labels` [n] float32: 1 is
    bad. `split` [n] int8: a place in SPLITS.
    """

    name: str
    table: NDArray[np.float64]
    labels: NDArray[np.float32]
    split: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Loans to train, validate or test on: features [n, P] on the agreed scale, labels [n]."""

    features: NDArray[np.float64]
    labels: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class BankData:
    """One bank's loans on the agreed scale, by what they are for."""

    name: str
    train: Rows
    validation: Rows
    test: Rows


def prepared(rows: BankRows) -> BankData:
    """Return the loans on the agreed scale, in their three parts."""
    features = on_agreed_scale(rows.table)
    parts = {
        part: Rows(features=features[rows.split == at], labels=rows.labels[rows.split == at])
        for at, part in enumerate(SPLITS)
    }
    return BankData(name=rows.name, **parts)


def pool(banks: Sequence[BankData]) -> BankData:
    """Return all banks' loans as one bank's: what federated learning is there to avoid."""
    return BankData(
        name="pooled",
        train=_together([bank.train for bank in banks]),
        validation=_together([bank.validation for bank in banks]),
        test=_together([bank.test for bank in banks]),
    )


def _together(parts: Sequence[Rows]) -> Rows:
    return Rows(
        features=np.concatenate([rows.features for rows in parts]),
        labels=np.concatenate([rows.labels for rows in parts]),
    )


def deal(labels: NDArray[np.float32], seed: int | Sequence[int]) -> NDArray[np.int8]:
    """Return a place in SPLITS for each loan: drawn, with the same shares of both labels."""
    draw = np.random.default_rng(seed)
    split = np.full(len(labels), SPLITS.index("test"), dtype=np.int8)
    for level in (0, 1):
        rows = draw.permutation(np.flatnonzero(labels == level))
        train = round(SHARES[0] * len(rows))
        split[rows[:train]] = SPLITS.index("train")
        until = train + round(SHARES[1] * len(rows))
        split[rows[train:until]] = SPLITS.index("validation")
    return split


def split_anew(rows: BankRows, seed: int, number: int) -> BankRows:
    """Return the same loans in another split; `number` is the bank's."""
    return replace(rows, split=deal(rows.labels, (seed, number)))


def load_bank(path: Path | str) -> BankData:
    """Read one bank's own file and put it on the agreed scale.

    Raises:
        LoanDataError: the file is absent or not of that form.
    """
    return prepared(load_rows(Path(path)))


def load_rows(path: Path) -> BankRows:
    """Read one bank's own file; it is named after its bank.

    Raises:
        LoanDataError: as `load_bank`.
    """
    try:
        with path.open(newline="", encoding=ENCODING) as file:
            return read_rows(file, path.name)
    except OSError as error:
        why = f"file of loans {path} cannot be read: {error.strerror}"
        raise LoanDataError(why, _HINT) from None


def read_rows(text: Iterable[str], file: str) -> BankRows:
    """Read one bank's loans, line by line; the bank is called like the file, without its ending.

    Raises:
        LoanDataError: it is not of that form.
    """
    try:
        header, *lines = list(csv.reader(text)) or [[]]
    except (UnicodeDecodeError, csv.Error):
        raise LoanDataError(f"{file} is no table of texts in UTF-8", _HINT) from None
    return parse_rows(PurePosixPath(file).stem, file, header, lines)


def parse_rows(
    bank: str, file: str, header: Sequence[str], lines: Sequence[Sequence[str]]
) -> BankRows:
    """Return the loans of a table of texts.

    Args:
        bank: whose.
        file: what messages call the table.
        header: the columns' names, in any order; others than those needed are passed over.
        lines: the rows.

    Raises:
        LoanDataError: a column is missing, or a row is not as it has to be.
    """
    twice = [name for name in (*COLUMNS, LABEL, "split") if list(header).count(name) > 1]
    if twice:
        raise LoanDataError(f"{file} has two columns {', '.join(twice)}", _HINT)
    absent = [name for name in (*COLUMNS, LABEL) if name not in header]
    if absent:
        raise LoanDataError(f"{file} has no column {', '.join(absent)}", _HINT)
    if not lines:
        raise LoanDataError(f"{file} has no rows", _HINT)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            where = f"{file} line {number}"
            raise LoanDataError(f"{where} has {len(line)} fields, want {len(header)}", _HINT)
    place = {name: header.index(name) for name in header}
    columns = {
        name: _column([line[place[name]] for line in lines], name, file)
        for name in (*COLUMNS, LABEL)
    }
    labels = columns[LABEL].astype(np.float32)
    if len(np.unique(labels)) < len(LABELS):
        raise LoanDataError(f"{file} must hold loans of both kinds: {' and '.join(LABELS)}", _HINT)
    return BankRows(
        name=bank,
        table=np.stack([columns[name] for name in COLUMNS], axis=1),
        labels=labels,
        split=_split(lines, place.get("split"), labels, file),
    )


def write_bank(rows: BankRows, folder: Path) -> Path:
    """Write one bank's loans to `folder`/`name`.csv, mode 0600, and return that path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{rows.name}.csv"
    path.touch(mode=0o600)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for split, values, label in zip(rows.split, rows.table, rows.labels, strict=True):
            told = [_told(name, value) for name, value in zip(COLUMNS, values, strict=True)]
            writer.writerow((SPLITS[split], *told, LABELS[int(label)]))
    return path


def _told(column: str, value: float) -> str:
    return TEXTS[column][int(value)] if column in TEXTS else f"{value:.15g}"


def _column(texts: Sequence[str], name: str, file: str) -> NDArray[np.float64]:
    """Return a column's numbers; of words, their places in the agreed list."""
    words = {word: float(at) for at, word in enumerate(TEXTS.get(name, ()))}
    values = np.empty(len(texts))
    for number, text in enumerate(texts):
        value = words.get(text, np.nan) if words else _number(text)
        if not np.isfinite(value) or value < 0:
            want = f"one of {', '.join(words)}" if words else "a number of at least 0"
            raise LoanDataError(f"{file} line {number + 2} column {name} is not {want}", _HINT)
        values[number] = value
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _split(
    lines: Sequence[Sequence[str]], place: int | None, labels: NDArray[np.float32], file: str
) -> NDArray[np.int8]:
    if place is None:
        split = deal(labels, SPLIT_SEED)
    else:
        words = [line[place] for line in lines]
        for number, word in enumerate(words, start=2):
            if word not in SPLITS:
                want = ", ".join(SPLITS)
                raise LoanDataError(f"{file} line {number} column split is none of {want}", _HINT)
        split = np.array([SPLITS.index(word) for word in words], dtype=np.int8)
    for at, part in enumerate(SPLITS):
        if len(np.unique(labels[split == at])) < len(LABELS):
            raise LoanDataError(f"{file} has not both kinds of loans among those to {part}", _HINT)
    return split
