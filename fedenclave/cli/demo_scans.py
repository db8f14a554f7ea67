"""`fedenclave demo scans`: pictures that lie sealed, and what training on them is worth."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedenclave.cli.demo_tables import figure, receipts_plain, spread
from fedenclave.cli.terminal import err, out, print_error, print_insecure, print_json, say
from fedenclave.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from fedenclave.demo.scans import ScansResult

WARNING = (
    "a simulation in development mode: no TEE hardware is used, and one process holds every "
    "hospital's keys"
)
_METHODS = {"local": "alone", "federated": "federated", "pooled": "pooled"}


def scans(
    folder: Annotated[Path, typer.Option(help="Where to put everything that is made.")] = Path(
        "fedenclave-demo-scans"
    ),
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How many federations.")] = 3,
    data: Annotated[
        str,
        typer.Option(
            help="A folder with the four files of Fashion-MNIST, or made-up; default: what is "
            "installed (apt-get install dataset-fashion-mnist), or else made-up shapes."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Results on stdout as JSON.")] = False,
) -> None:
    """Three hospitals train on pictures that lie sealed; is it worth it?"""
    missing = [name for name in ("torch", "PIL") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the demonstration needs {', '.join(missing)}, which is not installed",
            hint="in the folder with the sources: "
            "pip install '.[demo]' --constraint constraints.txt",
        )
    from fedenclave.demo.scans import run_scans

    began = time.monotonic()
    print_insecure(WARNING)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True) as progress:
        task = progress.add_task("training", total=None, visible=False)

        def tell(step: str, why: str) -> None:
            begin = f"[cyan]{time.monotonic() - began:5.0f} s  {step:<9}[/]"
            progress.console.print(begin + escape(why))

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        result = run_scans(folder, seeds=seeds, data=data, say=tell, advance=advance)
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result, folder, time.monotonic() - began)
    if not result.holds:
        print_error(
            ConfigurationError(
                "a receipt is missing, proves nothing, or names other data",
                hint=f"fedenclave receipts verify {shlex.quote(f'{folder}/seed-0/north')} "
                f"--manifest {shlex.quote(f'{folder}/seed-0/federation.toml')}",
            )
        )
        raise typer.Exit(1)


def _show(result: ScansResult, folder: Path, seconds: float) -> None:
    out.print()
    out.print(_scores(result.results))
    out.print(_fairly(result))
    valid = [f.verified for files in result.receipts.values() for f in files if f.verified]
    total = sum(len(files) for files in result.receipts.values())
    for line in result.contradictions:
        err.print(f"error: {line}", markup=False)
    say(
        f"receipts: {len(valid)} of {total} valid, verified offline; "
        f"{len({receipt.data for receipt in valid})} different sealed datasets are named in them"
    )
    print_insecure(WARNING)
    say(f"done in {seconds:.0f} s. in {folder}:")
    say("  README.txt    what every file is, and what to try")


def _scores(results: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"accuracy on test pictures, {results['seeds']} seeds",
        caption="mean ± standard deviation; pooled is what the hospitals may not do",
    )
    for heading in ("test pictures of", *_METHODS.values(), "federated above alone"):
        table.add_column(heading)
    for place, wins in results["federated_above_local"].items():
        cells = [_spread(results["accuracy"][method][place]) for method in _METHODS]
        table.add_row(place, *cells, f"{wins} of {results['seeds']}")
    return table


def _spread(cell: Mapping[str, Any]) -> str:
    # Of one seed there is no deviation.
    return figure(cell["mean"]) if cell["std"] is None else spread(cell)


def _fairly(result: ScansResult) -> str:
    return (
        f"[dim]read it fairly: the pictures are {escape(result.images)}, nobody's scans. a "
        "hospital sees some kinds often and others hardly ever: on pictures in its own mixture, "
        "its own model is a strong rival. 'all pictures' is the mean accuracy of the three "
        "hospitals' models on everybody's. alone and pooled keep their best pass by validation "
        "pictures, the federation its last round.[/]"
    )


def _as_json(result: ScansResult) -> dict[str, object]:
    return {
        "insecure": True,
        "warning": WARNING,
        "folder": str(result.folder),
        "holds": result.holds,
        "images": result.images,
        "results": result.results,
        "receipts": receipts_plain(result.receipts),
        "contradictions": result.contradictions,
    }
