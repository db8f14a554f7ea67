"""How a demonstration tells what it does: steps in words, and rounds by Flower's log."""

from __future__ import annotations

import re
from collections.abc import Callable

Say = Callable[[str, str], None]
"""Told each step: what is done, and why."""

Advance = Callable[[int, int], None]
"""Told how many rounds are done, and how many there are."""

_ROUND = re.compile(r"\[ROUND (\d+)/(\d+)\]")


def follow(line: str, advance: Advance) -> None:
    """Tell of the round that begins, where a line of the ServerApp's log says so."""
    found = _ROUND.search(line)
    if found is not None:
        advance(int(found.group(1)) - 1, int(found.group(2)))
