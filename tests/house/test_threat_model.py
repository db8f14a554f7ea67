"""THREAT_MODEL.md: sixteen rows, each with tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "fedenclave" / "THREAT_MODEL.md").read_text()
ROWS = re.findall(r"^\| (T\d+) \|(.*)\|([^|]*)\|$", DOCUMENT, re.MULTILINE)


def test_every_attack_of_the_design_has_one_row() -> None:
    assert [name for name, _, _ in ROWS] == [f"T{number}" for number in range(1, 17)]


def test_every_row_names_tests_that_exist() -> None:
    for name, _, held_by in ROWS:
        files = re.findall(r"`(tests/[\w/]+\.py)`", held_by)
        assert files, f"{name} names no test"
        for file in files:
            assert "def test_" in (ROOT / file).read_text(), f"{name} names {file}"


def test_every_attack_file_is_named_in_its_row() -> None:
    for path in (ROOT / "tests" / "attacks").glob("test_t*.py"):
        number = int(path.name.removeprefix("test_t")[:2])
        (row,) = [held_by for name, _, held_by in ROWS if name == f"T{number}"]
        assert path.name in row


def test_what_is_not_stopped_is_said_in_bold() -> None:
    unstopped = {name for name, text, _ in ROWS if "**not stopped in this version**" in text}
    assert unstopped == {"T14"}
