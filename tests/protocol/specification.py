"""SPEC.md as a test reads it: its sections, and the rows of their tables."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "fedenclave"
SPEC = (PACKAGE / "protocol" / "SPEC.md").read_text(encoding="utf-8")


def section(number: str) -> str:
    """Return the text of a section, its subsections included."""
    start = re.search(rf"^#+ {re.escape(number)}\.? .*$", SPEC, re.MULTILINE)
    assert start is not None, f"SPEC.md has no section {number}"
    level = 3 if "." in number else 2
    end = re.compile(rf"^#{{2,{level}}} ", re.MULTILINE).search(SPEC, start.end())
    return SPEC[start.end() : end.start() if end else len(SPEC)]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in `text`, header and rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"[|-]+", line)]
    skipped = {i for rule in rules for i in (rule - 1, rule)}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for i, line in enumerate(lines)
        if i not in skipped
    ]
