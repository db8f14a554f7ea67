"""What does it cost that a restart loses nothing, and how long does a restart take?

Every transition of the enclave is sealed, and on the host's disk before anybody learns of it.
Counted is the admission of a small update, where that weighs most: by a host that waits for its
disk (`flushed`, as an aggregator does) and by one that leaves it to the kernel (as the simulation
does).
A restart is counted from the start of the program's object to an enclave that goes on, with every
update of an open round attached; beside it the start of a new federation.

    python -m benchmarks.restart [--clients 50] [--repeat 5] [--quick] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, spread, timed
from benchmarks.rows import Row
from benchmarks.trained import TENSOR, first_parameters
from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol.evidence import INSECURE
from fedenclave.simulation.federation import Arrays, SimulatedFederation

SIZES = (1_000, 1_000_000)
"""Parameters: a small model, where the flush is nearly all, and the suite's small one."""


@dataclass(kw_only=True)
class Figures:
    """Seconds: of an admission with and without the disk, of a restart and of a first start."""

    flushed: list[float] = field(default_factory=list)
    unflushed: list[float] = field(default_factory=list)
    restart: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)


def measure(parameters: int, clients: int, repeat: int) -> Figures:
    """Return the figures of `repeat` rounds of each kind, in turn."""
    figures = Figures()
    for _ in range(repeat):
        for flushed in (False, True):
            with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as folder:
                one_round(parameters, clients, Path(folder), figures, flushed=flushed)
    return figures


def one_round(
    parameters: int, clients: int, folder: Path, figures: Figures, *, flushed: bool
) -> None:
    """Admit everybody's update, end the host in the open round, and start it again."""
    first = {TENSOR: first_parameters(parameters)}
    admissions = figures.flushed if flushed else figures.unflushed
    with SimulatedFederation.create(
        first, clients=clients, folder=folder, flushed=flushed
    ) as federation:
        submit = federation.coordinator.submit

        def timed_submit(client: str, sealed: bytes) -> Any:
            answer, seconds = timed(lambda: submit(client, sealed))
            admissions.append(seconds)
            return answer

        federation.coordinator.submit = timed_submit  # type: ignore[method-assign]
        federation.collect(_trained)
        aggregator = federation.aggregator
        manifest, approvals, _ = aggregator.info()
        given = {
            "manifest": manifest,
            "approvals": approvals,
            "model": federation.model,
            "tee": INSECURE,
            "flushed": flushed,
        }
        aggregator.close()
        figures.restart.append(_started(folder, given, admitted=clients))
        figures.start.append(_started(folder / "new", given, admitted=0))


def _trained(_: str, base: Arrays) -> tuple[Arrays, int]:
    return {name: np.asarray(values) + np.float32(1) for name, values in base.items()}, 1


def _started(folder: Path, given: Mapping[str, Any], *, admitted: int) -> float:
    aggregator, seconds = timed(lambda: Aggregator(folder, **given))
    with aggregator:
        if aggregator.status().admitted != admitted:
            raise RuntimeError(f"{aggregator.status().admitted} updates are there, not {admitted}")
    return seconds


def rows_of(figures: Figures, parameters: int, clients: int) -> list[Row]:
    """Return what the report shows."""
    plain, flushed = (statistics.median(s) * 1000 for s in (figures.unflushed, figures.flushed))
    restart, start = (statistics.median(s) for s in (figures.restart, figures.start))
    size = f"{parameters / 1e6:g} M parameters"
    return [
        Row(
            question=f"{size}: an update written, admitted, its transition on the disk",
            unit="ms",
            ours=flushed,
            peer_name="the same, left to the kernel",
            peer=plain,
            ratio=plain / flushed,
            note="what waiting for the disk costs: the update's own flush and the transition's",
        ),
        Row(
            question=f"{size}: a restart in an open round with {clients} admitted updates",
            unit="s",
            ours=restart,
            peer_name="the start of a new federation",
            peer=start,
            ratio=start / restart,
            note="mostly Python's imports and the measurement of the code",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("restart", __doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=5, help="rounds of each kind (5)")
    options = parser.parse_args(arguments)
    clients, repeat = (2, 1) if options.quick else (options.clients, options.repeat)
    machine = describe_machine()
    table = Table(title=f"{clients} clients")
    for heading in ("parameters", "", "seconds: median [range]"):
        table.add_column(heading)
    rows: list[Row] = []
    result: dict[str, Any] = {"machine": machine, "clients": clients}
    for parameters in SIZES:
        figures = measure(parameters, clients, repeat)
        for title, seconds in vars(figures).items():
            table.add_row(f"{parameters:,}", title, spread(seconds))
        result[str(parameters)] = vars(figures)
        rows += rows_of(figures, parameters, clients)
    publish(table, "", result, options.json, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
