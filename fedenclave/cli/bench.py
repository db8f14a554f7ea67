"""`fedenclave bench`: how fast it is here, beside its peers, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedenclave.demo.apps import become_benchmarks


def bench(
    out_dir: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the report is written.")
    ] = Path("fedenclave-bench"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes: it runs, and the figures mean nothing.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAME",
            help="One of aggregation, robust, throughput, memory, sealing, data_at_rest, foreign, "
            "flower_round, restart, attestation, log, receipts; repeatable. All by default.",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Counted rounds of each.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="The report on stdout as JSON.")] = False,
) -> None:
    """Measure speed, memory and bytes beside Flower and other peers; write a report with plots."""
    arguments = ["--out", str(out_dir), "--repeat", str(repeat)]
    arguments += ["--quick"] if quick else []
    arguments += ["--json"] if as_json else []
    for name in only or []:
        arguments += ["--only", name]
    # A process that imports what it measures with; here are neither numpy nor Flower.
    become_benchmarks(arguments)
