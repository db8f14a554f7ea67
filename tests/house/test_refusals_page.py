"""clients/REFUSALS.md has a paragraph for every text by which a node refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from fedenclave.attestation.formats import FORMATS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "clients" / "REFUSALS.md").read_text()
FOLDERS = ("client", "flower", "node")
CLASSES = {"AppNotApproved", "EnclaveRefused", "ResultRefused", "UpdateUnusable"}
"""Those that nobody but a node raises for what a message brought."""
ALSO = {
    "client/enrolled.py": 2,  # the roster, the approvals
    "client/state.py": 2,
}
"""Files whose configuration errors a running node meets, and how many they have."""
_CHECKS = {"must", "want", "refuse"}


def template(node: ast.expr) -> str | None:
    """Return a text's constant parts with … between them; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return None


@cache
def calls(path: Path) -> list[ast.Call]:
    return [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)]


def raised(path: Path, classes: set[str]) -> Iterator[str]:
    for call in calls(path):
        named = isinstance(call.func, ast.Name) and call.func.id in classes
        if named and call.args and (text := template(call.args[0])):
            yield text


def refusals() -> list[str]:
    package = ROOT / "fedenclave"
    texts = [
        text
        for folder in FOLDERS
        for path in sorted((package / folder).glob("*.py"))
        for text in raised(path, CLASSES)
    ]
    for name, count in ALSO.items():
        own = list(raised(package / name, {"ConfigurationError"}))
        assert len(own) == count, name
        texts += own
    return sorted(set(texts))


def quoted() -> list[str]:
    flat = " ".join(PAGE.split())
    return re.findall(r"`([^`]+)`", flat)


def patterns() -> list[str]:
    section = PAGE.split("## Evidence")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def check_names() -> list[str]:
    names = {name for each in FORMATS.values() for name in each.always}
    for path in (ROOT / "fedenclave" / "attestation").rglob("*.py"):
        for call in calls(path):
            is_check = isinstance(call.func, ast.Attribute) and call.func.attr in _CHECKS
            text = template(call.args[0]) if is_check and call.args else None
            if text is not None and text.replace("…", "").strip():
                names.add(text.replace("…", "x"))
    return sorted(names)


@pytest.mark.parametrize("text", refusals())
def test_every_refusal_has_its_paragraph(text: str) -> None:
    assert text in quoted()


@pytest.mark.parametrize("name", check_names())
def test_every_check_of_evidence_has_its_row(name: str) -> None:
    assert [each for each in patterns() if fnmatchcase(name, each)]


def test_no_row_is_about_a_check_that_there_is_not() -> None:
    names = check_names()
    gone = [each for each in patterns() if not any(fnmatchcase(name, each) for name in names)]
    assert not gone
