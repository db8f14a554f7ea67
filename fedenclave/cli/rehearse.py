"""`fedenclave rehearse`: a federation on this machine, for one's own node to take part in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedenclave.cli import demo
from fedenclave.cli.demo_progress import following
from fedenclave.cli.terminal import print_error, print_insecure
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
    demo.load_hospital()
    from fedenclave.demo import rehearsal

    print_insecure(WORDS[Tee.INSECURE].warning)
    with following(rounds) as shown:
        rehearsal.rehearse(
            folder,
            port=port,
            rounds=rounds,
            say=shown.say,
            refuse=print_error,
            advance=shown.advance,
        )
