"""Run the suite and write its report: `python -m benchmarks`, or `fedenclave bench`.

Exit status: 0 where everything was measured, whether targets were met or not; 1 where a benchmark
failed or a package is missing; 2 for usage.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from benchmarks import report
from benchmarks.machine import describe_machine, machine_line, note_load
from benchmarks.suite import NAMES, SECTIONS, Measured, parts_of, run_section, why_left_out

NEEDS = ("flwr", "matplotlib")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("fedenclave-bench"), metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: the figures mean nothing")
    parser.add_argument("--only", action="append", choices=NAMES, help="repeatable")
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds of each (5)")
    parser.add_argument("--json", action="store_true", help="the report on stdout as JSON")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error(f"argument --repeat: got {options.repeat}, want at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write report.md, report.json and the plots."""
    options = options_of(arguments)
    err = Console(stderr=True, highlight=False, soft_wrap=True)
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        err.print(f"error: the benchmarks need {' and '.join(missing)}, not installed here")
        err.print("hint: pip install 'fedenclave[demo]'", markup=False)
        return 1
    signal.signal(signal.SIGTERM, _leave)
    # Before anything is measured: a report that cannot be written shows itself now.
    options.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    for warning in report.warnings(machine, quick=options.quick):
        err.print(f"warning: {warning}", style="bold yellow", markup=False)
    sections = measure(options, err)
    note_load(machine)
    from benchmarks import plots  # matplotlib, which was looked for above

    how = {"quick": options.quick, "repeat": options.repeat}
    found = report.as_mapping(sections, machine, **how)
    drawn = plots.draw(options.out, sections, quick=options.quick)
    report.write(options.out, found, report.markdown(sections, machine, drawn, **how))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(sections, quick=options.quick)
        out = Console(highlight=False)
        out.print(machine_line(machine), markup=False)
        out.print(f"the report: {options.out / 'report.md'}", markup=False, soft_wrap=True)
    failures = [(each.section.name, said) for each in sections for said in each.failures]
    for name, said in failures:
        err.print(f"error: {name} {said}", markup=False)
    return 1 if failures else 0


def measure(options: argparse.Namespace, console: Console) -> list[Measured]:
    """Run the sections in turn, with a progress bar over their parts."""
    progress = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    quick, only = options.quick, options.only or []
    plan = []
    for section in SECTIONS:
        if only and section.name not in only:
            continue
        left_out = why_left_out(section, quick=quick, asked_for=section.name in only)
        parts = [] if left_out else parts_of(section, quick=quick, repeat=options.repeat)
        plan.append((section, left_out, parts))
    measured = []
    with progress:
        task = progress.add_task("", total=sum(len(parts) for _, _, parts in plan))
        for section, left_out, parts in plan:
            progress.update(task, description=section.name)
            found = run_section(section, parts, lambda: progress.advance(task))
            found.left_out = left_out
            measured.append(found)
    return measured


def show(sections: Sequence[Measured], *, quick: bool) -> None:
    """Print the report's tables."""
    out = Console()
    for measured in sections:
        if measured.left_out:
            out.print(f"{measured.section.name}: {measured.left_out}", markup=False)
        if not measured.rows:
            continue
        table = Table(title=measured.section.question)
        for heading in report.HEADINGS:
            table.add_column(heading)
        for row in measured.rows:
            table.add_row(*map(Text, report.cells(row, quick=quick)))
        out.print(table)


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        print("interrupted; nothing was reported", file=sys.stderr)
        status = 130
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        status = 1
    sys.exit(status)
