"""The loans' file is a pickle, and a pickle is a program: it is read, and nothing of it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bank.inert_pickle import Call, PickleRefused, read_inert
from bank.table import read_columns
from tests.bank import written_table as written

VALUES = np.array([[1.5, -2.0, 3.0], [0.0, 4.0, 5.0]])
WORDS = ("good", "bad", "good")


def whole() -> bytes:
    blocks = [
        written.block(written.numbers(VALUES, "f8"), [0, 2]),
        written.block(written.texts([1, 3], [written.text(word) for word in WORDS]), [1]),
    ]
    return written.table(["amount", "Class", "rate"], blocks)


def test_a_pickle_that_would_run_a_command_runs_none(tmp_path: Path) -> None:
    command = f"touch {tmp_path / 'it-ran'}"
    data = (
        b"\x80\x05" + written.call("os", "system", written.tuple_of(written.text(command))) + b"."
    )
    found = read_inert(data)
    assert isinstance(found, Call)
    assert (found.name, found.arguments) == ("os.system", (command,))
    with pytest.raises(PickleRefused):
        read_columns(data)
    assert not list(tmp_path.iterdir())


def test_a_table_is_read_column_by_column() -> None:
    found = read_columns(whole())
    assert list(found) == ["amount", "rate", "Class"]
    assert np.asarray(found["amount"]).tolist() == [1.5, -2.0, 3.0]
    assert np.asarray(found["rate"]).tolist() == [0.0, 4.0, 5.0]
    assert list(found["Class"]) == list(WORDS)


@pytest.mark.parametrize(
    "blocks",
    [
        [written.block(written.numbers(VALUES, "f8"), [0])],
        [written.block(written.numbers(VALUES, "i4"), [0, 1])],
        [written.block(written.numbers(VALUES[:1], "f8"), [0])],
        [written.block(written.texts([2, 1], [written.text("a"), b"N"]), [0, 1])],
        [written.block(written.texts([2, 2], [written.text("a")]), [0, 1])],
        [b"N"],
    ],
    ids=["places", "type", "column-missing", "no-text", "too-few", "no-block"],
)
def test_a_table_of_another_form_is_refused(blocks: list[bytes]) -> None:
    with pytest.raises(PickleRefused):
        read_columns(written.table(["a", "b"], blocks))


def test_every_cut_table_is_refused() -> None:
    data = whole()
    for size in range(len(data)):
        with pytest.raises(PickleRefused):
            read_columns(data[:size])


@given(st.binary(max_size=60), st.integers(0, 2000))
def test_whatever_bytes_come_in_are_read_or_refused(noise: bytes, at: int) -> None:
    data = whole()
    for changed in (noise, b"\x80\x05" + noise + b".", data[:at] + noise + data[at + len(noise) :]):
        try:
            read_columns(changed)
        except PickleRefused:
            continue
