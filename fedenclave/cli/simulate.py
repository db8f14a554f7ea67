"""`fedenclave simulate`: experiments with the full cryptographic path on one machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fedenclave.cli.attack_gallery import run_gallery, show_gallery
from fedenclave.cli.terminal import err, out, print_insecure, print_json, say
from fedenclave.protocol.errors import ConfigurationError

# FLamby published five; the mean of fewer says nothing about the published spread.
_ENOUGH_SEEDS = 5

app = typer.Typer(help="Experiments with the full cryptographic path.", no_args_is_help=True)


@app.command()
def hospital(
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds.")] = 5,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """FLamby's published FedAvg on Fed-Heart-Disease, with every update sealed."""
    _need("torch")
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


@app.command()
def gallery(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the figures.")],
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two rules, few rounds: in seconds.")
    ] = False,
    data: Annotated[
        str, typer.Option(help="Folder with Fashion-MNIST's four files, or: made-up.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """What attackers do to a model under each aggregation rule, and what the rules cost."""
    _need("matplotlib")
    print_insecure("a simulation: one process holds every client's keys")
    words = ["--out", str(out_folder), "--seeds", str(seeds), "--data", data]
    done = run_gallery([*words, "--quick"] if quick else words)
    if as_json:
        print_json(done["results"])
        return
    show_gallery(done["results"])
    for file in done["files"]:
        say(file)


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise ConfigurationError(
            f"the simulation needs {package}, which is not installed",
            hint="in the folder with the sources: "
            "pip install '.[demo]' --constraint constraints.txt",
        )


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
