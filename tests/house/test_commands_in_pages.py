"""Every `fedenclave ...` that a page names is a command, with those options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import typer

from fedenclave.cli.main import app
from tests.house.tree import ROOT

PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not {".venv", ".venv-peers"} & set(path.parts)
)
WORD = re.compile(r"[a-z][a-z0-9-]*")
OPTION = re.compile(r"--[a-z][a-z0-9-]*")


def commands(text: str) -> Iterator[str]:
    """Yield what stands behind `fedenclave` in code, up to a comment, a pipe or the code's end."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in blocks:
        joined = block.replace("\\\n", " ")
        for line in joined.splitlines():
            if found := re.match(r"\s*(?:\$ )?(?:sudo )?fedenclave (.*)", line):
                yield found.group(1).partition(" #")[0]
    for span in re.findall(r"`([^`]+)`", " ".join(outside.split())):
        if span.startswith("fedenclave "):
            yield span.removeprefix("fedenclave ")


@cache
def _top() -> click.Command:
    return typer.main.get_command(app)


def problem(words: str) -> str | None:
    """Return what of a command is not there."""
    at = _top()
    rest = words.split()
    while isinstance(at, click.Group) and rest and WORD.fullmatch(rest[0].rstrip(":,.;")):
        name = rest.pop(0).rstrip(":,.;")
        inner = at.commands.get(name)
        if inner is None:
            return f"no command {name!r}"
        at = inner
    known = {opt for each in at.params for opt in each.opts + each.secondary_opts} | {"--help"}
    used = [each for word in rest for each in OPTION.findall(word) if word.startswith("-")]
    unknown = sorted(set(used) - known)
    return f"no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_of_a_page_is_there(page: Path) -> None:
    wrong = [
        f"fedenclave {words}: {why}"
        for words in commands((ROOT / page).read_text())
        if (why := problem(words))
    ]
    assert not wrong


def test_a_command_that_is_not_there_is_seen() -> None:
    text = "Say `fedenclave nod run`.\n```\nfedenclave node run --drr x  # --nothing\n```\n"
    assert [problem(words) for words in commands(text)] == ["no option --drr", "no command 'nod'"]
