"""`fedenclave attack`: play attacks on a live federation, and see what stops them.

Not `fedenclave simulate gallery`, which draws what poisoners do to a model's accuracy.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedenclave.cli.terminal import cell, err, out, print_insecure, print_json
from fedenclave.protocol.errors import ConfigurationError

# The suite is loaded by its own commands only: it brings numpy and the whole client with it.
if TYPE_CHECKING:
    from fedenclave.attack_suite.runner import Ending, Played

_LINES = 3
"""Of what stopped an attack, in its row of the table; the report has all."""

app = typer.Typer(help="Attack a live federation, and see what stops it.", no_args_is_help=True)


@app.command("list")
def list_attacks(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every attack, with its row of the threat model."""
    from fedenclave.attack_suite import Open
    from fedenclave.attack_suite.registry import everything

    known = everything()
    if as_json:
        print_json(
            [
                {
                    "id": each.id,
                    "row": each.row,
                    "title": each.title,
                    "open": isinstance(each, Open),
                    "reason": each.reason if isinstance(each, Open) else "",
                }
                for each in known
            ]
        )
        return
    table = Table()
    table.add_column("id", no_wrap=True)
    table.add_column("attack")
    for each in known:
        open_because = f"\nopen: {each.reason}" if isinstance(each, Open) else ""
        table.add_row(cell(each.id), cell(each.title + open_because))
    out.print(table)


@app.command()
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Attacks, or rows: T06, T06-second-update, DISTFL."),
    ] = None,
    play_everything: Annotated[
        bool, typer.Option("--all", help="Every attack: less than a minute on two cores.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Also write the report, as JSON, to this file.")
    ] = None,
    code: Annotated[
        Path | None,
        typer.Option(
            help="Folder with another copy of the fedenclave package for the enclave to run, which "
            "the members accept: take a check out of it and see which attacks get through."
        ),
    ] = None,
) -> None:
    """Play attacks, each on a federation of its own; exit 1 if one that must be stopped is not."""
    from fedenclave.attack_suite import runner
    from fedenclave.attack_suite.registry import chosen, everything

    if bool(names) == play_everything:
        raise typer.BadParameter("name attacks, or say --all; `fedenclave attack list` shows them")
    attacks = everything() if play_everything else chosen(names or [])
    print_insecure(runner.REPORT_WARNING)
    where = runner.setting(code)
    if out_file is not None:
        _write(out_file, "", mode="a")  # fails now, and not after the attacks
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        task = progress.add_task("attacks", total=len(attacks))

        def done(each: Played) -> None:
            progress.advance(task)
            if not as_json:
                _show_tries(each)

        played = runner.play_all(attacks, where, done)
    report = runner.report(played, where)
    if out_file is not None:
        _write(out_file, json.dumps(report, indent=2) + "\n")
    if as_json:
        print_json(report)
    else:
        _show_table(played)
    through = sum(not each.as_claimed for each in played)
    if through:
        err.print(f"error: {through} of {len(played)} attacks were not stopped")
        raise typer.Exit(1)


def _write(path: Path, text: str, mode: str = "w") -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the report to {path}: {error.strerror}",
            hint="name a file in a folder that this user can write to",
        ) from error


def _show_tries(each: Played) -> None:
    """Print what one attack tried, and what was seen to stop each try."""
    out.print(f"\n{each.id}: {each.title}", style="bold", markup=False, highlight=False)
    for made in each.tries:
        out.print(
            f"  {'then' if made.control else 'tried':8} {made.tried}", markup=False, highlight=False
        )
        out.print(f"  {'seen':8} {made.stopped_by}", markup=False, highlight=False)
    if each.why:
        out.print(
            f"  {each.ending}: {each.why}", style=_style(each.ending), markup=False, highlight=False
        )


def _show_table(played: Sequence[Played]) -> None:
    table = Table()
    table.add_column("id", no_wrap=True)
    for heading in ("attack", "stopped by"):
        table.add_column(heading)
    table.add_column("s", justify="right", no_wrap=True)
    for each in played:
        table.add_row(
            cell(each.id),
            cell(each.title),
            cell(_in_short(each)),
            f"{each.seconds:.1f}" if each.seconds else "",
            style=_style(each.ending),
        )
    out.print(table)
    counts = Counter(each.ending for each in played)
    said = ", ".join(f"{count} {ending}" for ending, count in counts.items())
    out.print(said, markup=False, highlight=False)


def _in_short(each: Played) -> str:
    if each.why:
        return f"{each.ending.upper()}: {each.why}"
    lines = list(each.stopped_by)
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return "\n".join([*lines[:_LINES], *more])


def _style(ending: Ending) -> str:
    return {"stopped": "", "open": "yellow"}.get(ending.value, "bold red")
