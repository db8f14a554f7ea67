"""`fedenclave rehearse`: a federation on this machine, for one's own node to take part in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fedenclave.cli import demo
from fedenclave.cli.terminal import err, print_error, print_insecure
from fedenclave.demo.tee import WORDS, Tee


def rehearse(
    folder: Annotated[Path, typer.Option(help="Where to put everything that is made.")] = Path(
        "rehearsal"
    ),
    port: Annotated[
        int, typer.Option(min=1024, max=65535, help="Of the SuperLink, on 127.0.0.1.")
    ] = 9092,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of training.")] = 3,
) -> None:
    """Play the operator and three hospitals; your own node is the fourth (clients/README.md)."""
    demo._load()
    from fedenclave.demo import rehearsal

    print_insecure(WORDS[Tee.INSECURE].warning)
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with progress:
        task = progress.add_task("rounds", total=rounds, visible=False)

        def tell(step: str, what: str) -> None:
            progress.console.print(f"[cyan]{step:<9}[/] {escape(what)}")

        def advance(done: int, total: int) -> None:
            shown = f"round {min(done + 1, total)}"
            progress.update(task, completed=done, total=total, visible=True, description=shown)

        rehearsal.rehearse(
            folder, port=port, rounds=rounds, say=tell, refuse=print_error, advance=advance
        )
