"""Reading the log file of a process while it writes.

Not logging: nothing is written here. Colours are taken out, for these lines are compared with
patterns and shown inside other text.
"""

from __future__ import annotations

import re
from pathlib import Path

# A terminal's control sequences: colours and cursor movements.
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A log that ran away must not be read whole to show its end.
TAIL_BYTES = 64 * 1024


def plain(text: str) -> str:
    """Return `text` without a terminal's control sequences."""
    return CONTROL_SEQUENCE.sub("", text)


def last_lines(path: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log that are not empty; none if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            content = file.read()
    except FileNotFoundError:
        return []
    lines = plain(content.decode(errors="replace")).splitlines()
    return [line.rstrip() for line in lines if line.strip()][-count:]


class LogReader:
    """Gives every line of a log once, as soon as it is whole."""

    def __init__(self, path: Path) -> None:
        """Start at the beginning of `path`, which may not be there yet."""
        self._path = path
        self._offset = 0
        self._unfinished = b""

    def new_lines(self) -> list[str]:
        """Return the lines that were finished since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(content)
        *lines, self._unfinished = (self._unfinished + content).split(b"\n")
        return [_decoded(line) for line in lines]

    def rest(self) -> list[str]:
        """Return what is left once nobody writes any more, with an unfinished last line."""
        lines = self.new_lines()
        if self._unfinished:
            lines.append(_decoded(self._unfinished))
            self._unfinished = b""
        return lines


def _decoded(line: bytes) -> str:
    return plain(line.decode(errors="replace")).rstrip("\r")
