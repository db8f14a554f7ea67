"""Becomes another program, which ends with its parent, gains no rights, and may be confined.

`python -m fedenclave.node.bound PARENT [--memory BYTES] [--confine ...] -- PROGRAM WORDS...`, where
PARENT is the parent's process id, and the rest a `Confinement`. All of it holds across exec, and so
from the program's first line on: before it has imported anything, or started a thread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fedenclave.node.landlock import confine
from fedenclave.node.process_limits import bound_memory, end_with_parent, gain_nothing
from fedenclave.protocol.errors import FedEnclaveError


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Where a program may write, and to which TCP ports it may connect.

    Attributes:
        write: folders below which it may.
        append: single files; they are made, empty, where they are not there.
        connect: ports, at any address.
    """

    write: tuple[Path, ...]
    append: tuple[Path, ...] = ()
    connect: tuple[int, ...]

    def words(self) -> list[str]:
        """Return it as options; `add_options` reads them."""
        words = ["--confine"]
        for folder in self.write:
            words += ["--write", str(folder)]
        for file in self.append:
            words += ["--append", str(file)]
        for port in self.connect:
            words += ["--connect", str(port)]
        return words

    def wider(self, other: Confinement) -> Confinement:
        """Return one that allows what either allows."""
        return Confinement(
            write=(*other.write, *self.write),
            append=(*other.append, *self.append),
            connect=(*other.connect, *self.connect),
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take a confinement."""
    parser.add_argument("--confine", action="store_true")
    parser.add_argument("--write", type=Path, action="append", default=[])
    parser.add_argument("--append", type=Path, action="append", default=[])
    parser.add_argument("--connect", type=int, action="append", default=[])


def confinement_of(words: argparse.Namespace) -> Confinement | None:
    """Return the confinement that a command was given, if any."""
    if not words.confine:
        return None
    return Confinement(
        write=tuple(words.write), append=tuple(words.append), connect=tuple(words.connect)
    )


def bound(
    command: list[str],
    parent_pid: int,
    confinement: Confinement | None = None,
    *,
    own_lines: int | None = None,
    memory: int | None = None,
) -> list[str]:
    """Return how `command` is started so that it ends with `parent_pid`, and is confined.

    Args:
        command: the program, and its arguments.
        parent_pid: who starts it.
        confinement: of what it may write and connect to; None for none.
        own_lines: an inherited pipe that takes what is wrong with starting it; None for stderr.
        memory: how many bytes it may map; None for any.
    """
    # -P: what lies in the working folder is never imported.
    words = [sys.executable, "-P", "-m", "fedenclave.node.bound", str(parent_pid)]
    words += ["--memory", str(memory)] if memory is not None else []
    words += confinement.words() if confinement is not None else []
    words += ["--own-lines", str(own_lines)] if own_lines is not None else []
    return [*words, "--", *command]


def main() -> int:
    """Ask for all of it, and become the program; return only if that cannot be done."""
    parser = argparse.ArgumentParser(description="starts a program that ends with its parent")
    parser.add_argument("parent", type=int)
    parser.add_argument("--memory", type=int)
    add_options(parser)
    parser.add_argument("--own-lines", type=int, default=2)
    parser.add_argument("command", nargs="+")
    words = parser.parse_args()
    end_with_parent(words.parent)
    gain_nothing()
    if words.memory is not None and not bound_memory(words.memory):
        _say(words.own_lines, "warning: this system does not bound a program's memory")
    try:
        if (confinement := confinement_of(words)) is not None:
            confine(confinement.write, confinement.connect, confinement.append)
        os.execv(words.command[0], words.command)  # noqa: S606 - the supervisor's own words
    except FedEnclaveError as error:
        _say(words.own_lines, f"error: {error.message}\nhint: {error.hint}")
    except OSError as error:
        _say(words.own_lines, f"error: cannot start {words.command[0]}: {error.strerror}")
    return 127


def _say(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, text.encode(errors="replace") + b"\n")


if __name__ == "__main__":
    sys.exit(main())
