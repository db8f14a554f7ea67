"""`fedenclave simulate`: experiments with the full cryptographic path on one machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any

import typer
from rich.table import Table

from fedenclave.cli.terminal import err, out, print_insecure, print_json
from fedenclave.protocol.errors import ConfigurationError

# FLamby published five; the mean of fewer says nothing about the published spread.
_ENOUGH_SEEDS = 5

app = typer.Typer(help="Experiments with the full cryptographic path.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `hospital` a command of its own."""


@app.command()
def hospital(
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds.")] = 5,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """FLamby's published FedAvg on Fed-Heart-Disease, with every update sealed."""
    if find_spec("torch") is None:
        raise ConfigurationError(
            "the simulation needs torch, which is not installed",
            hint="in the folder with the sources: "
            "pip install '.[demo]' --constraint constraints.txt",
        )
    from fedenclave.demo.apps import run_module_json

    print_insecure("a simulation: one process holds every client's keys")
    with err.status(f"training {seeds} federations of four hospitals"):
        results: dict[str, Any] = run_module_json(
            "hospital", "hospital.sealed", ["--seeds", str(seeds)]
        )
    mean, published = results["mean"], results["published_mean"]
    outside = seeds >= _ENOUGH_SEEDS and abs(mean - published) > results["published_std"]
    if as_json:
        print_json(results)
    else:
        _show(results, seeds)
    if outside:
        err.print("error: the mean is outside the published spread")
        raise typer.Exit(1)


def _show(results: dict[str, Any], seeds: int) -> None:
    table = Table(title=f"pooled-test accuracy, {seeds} seeds: mean ± standard deviation")
    for heading in ("", "published by FLamby", "here"):
        table.add_column(heading)
    mean, spread = results["mean"], results["std"]
    published, published_spread = results["published_mean"], results["published_std"]
    table.add_row(
        "FedAvg",
        f"{published:.3f} ± {published_spread:.3f}",
        f"{mean:.3f} ± {spread:.3f}" if spread is not None else f"{mean:.3f}",
    )
    out.print(table)
    out.print(
        f"{results['receipts']} receipts verified; largest difference to plain float64 averaging: "
        f"{results['largest_difference']:.2g}"
    )
