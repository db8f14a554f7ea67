"""How commands speak: results on stdout, errors and warnings on stderr, never a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice

from rich.console import Console
from rich.text import Text

from fedenclave.protocol.errors import FedEnclaveError, printable

_PIECES = 10_000
out = Console()
err = Console(stderr=True, highlight=False, soft_wrap=True)


def cell(value: object) -> Text:
    """Return a table's cell of what somebody else may have written: no markup, no escapes.

    Line breaks are kept: in a cell they cannot pass for a line of ours.
    """
    text = value if isinstance(value, str) else str(value)
    return Text("\n".join(map(printable, text.split("\n"))))


def say(text: str) -> None:
    """Print one line as it is, to be copied: neither wrapped, nor coloured, nor interpreted."""
    out.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def print_error(error: FedEnclaveError) -> None:
    """Print what went wrong, and what to do about it."""
    err.print(f"error: {error.message}", markup=False)
    if error.hint:
        err.print(f"hint: {error.hint}", markup=False)


def print_insecure(what: str) -> None:
    """Say that something rests on nothing but the operator's word."""
    err.print(f"insecure: {what}", style="bold yellow", markup=False)


def print_json(value: Mapping[str, object] | Sequence[object]) -> None:
    """Print JSON for programs, and nothing else, on stdout."""
    # In pieces: the text of a long log's history is larger than the history. Not in json.dump's:
    # it writes every name by itself, and takes five times as long.
    pieces = json.JSONEncoder(indent=2).iterencode(value)
    while text := "".join(islice(pieces, _PIECES)):
        sys.stdout.write(text)
    print()
