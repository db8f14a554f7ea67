"""Times of several runs: the clock, the median, and the command line that all benchmarks share."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine_line, note_load
from benchmarks.rows import Row, as_json

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` returns and how many seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def spread(seconds: Sequence[float]) -> str:
    """Return the median, and the range in brackets."""
    return f"{statistics.median(seconds):.3f} [{min(seconds):.3f}-{max(seconds):.3f}]"


def ratio_of(peer: Sequence[float], ours: Sequence[float]) -> float:
    """Return how many times as fast ours is: the median of neighbours' ratios.

    Neighbours, because what slows both down cancels out.
    """
    return statistics.median(p / o for p, o in zip(peer, ours, strict=True))


def options_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark here has."""
    parser = argparse.ArgumentParser(
        prog=f"benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests: says nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def add_case_option(parser: argparse.ArgumentParser) -> None:
    """Let a caller choose how many clients with how many parameters are measured."""
    parser.add_argument(
        "--case",
        type=int,
        nargs=2,
        action="append",
        metavar=("CLIENTS", "PARAMETERS"),
        help="this many clients and parameters; repeatable (all cases)",
    )


def case_name(clients: int, parameters: int) -> str:
    """Return a case as tables show it."""
    return f"{clients} x {parameters / 1e6:g} M"


def publish(
    table: Table,
    verdict: str,
    result: dict[str, Any],
    file: Path | None,
    *,
    rows: Sequence[Row] = (),
) -> None:
    """Print the table, the verdict and the machine; write `result` as JSON where asked.

    `rows` are what the report of the whole suite shows of it, if it shows any.
    """
    note_load(result["machine"])
    result["rows"] = as_json(rows)
    console = Console()
    console.print(table)
    console.print(f"{verdict}\n{machine_line(result['machine'])}", highlight=False, markup=False)
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
