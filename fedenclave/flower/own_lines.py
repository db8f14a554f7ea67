"""The lines that FedEnclave itself says of a node: what its owner finds in the node's log.

They go to standard error, until the process is given a place of their own for them. It is given one
where an app's words go to standard error, too: by their look nobody could tell the two apart (T13).

Rules:
  * A line holds our own words, and nothing that an app or its data can have put there.
  * A line that nobody takes any more is lost, and stops nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import fedenclave
from fedenclave.protocol.errors import FedEnclaveError, printable

_OURS = Path(fedenclave.__file__).parent
_LONGEST = 2000
_into: list[int] = []


def take_into(descriptor: int) -> None:
    """Write all further lines into a pipe, and let no program that is started have it."""
    os.set_inheritable(descriptor, False)
    _into[:] = [descriptor]


def say(line: str) -> None:
    """Say one line."""
    text = printable(line)[:_LONGEST]
    if not _into:
        print(text, file=sys.stderr)
        return
    with contextlib.suppress(OSError):
        os.write(_into[0], text.encode(errors="replace") + b"\n")


def say_error(error: FedEnclaveError) -> None:
    """Say what was refused, and what can be done."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def is_ours(error: BaseException) -> bool:
    """Return whether an error was raised by a line of FedEnclave: an app can raise ours, too."""
    place = error.__traceback__
    if not isinstance(error, FedEnclaveError) or place is None:
        return False
    while place.tb_next is not None:
        place = place.tb_next
    return Path(place.tb_frame.f_code.co_filename).is_relative_to(_OURS)
