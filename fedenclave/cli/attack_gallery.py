"""How `fedenclave simulate gallery` shows its progress and its tables.

The app's process prints one JSON object a line (`clients/simulation/gallery/measure.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedenclave.cli.terminal import cell, err, out
from fedenclave.demo.apps import run_module_lines
from fedenclave.demo.errors import DeploymentError

_NONE, _SOME = "none", "*"


def run_gallery(arguments: Sequence[str]) -> dict[str, Any]:
    """Run the app with these options and return its last line: "results" and "files".

    Says beforehand how long it takes, and shows a bar meanwhile.

    Raises:
        DeploymentError: it failed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err) as progress:
        task = progress.add_task("federations", total=None)
        for line in run_module_lines("simulation", "gallery.measure", arguments):
            if "planned" in line:
                progress.console.print(
                    f"{line['planned']} federations on {line['images']}: "
                    f"{_about(line['seconds'])} where nothing else runs"
                )
                progress.update(task, total=line["planned"])
            elif "done" in line:
                progress.update(task, completed=line["done"])
            elif "results" in line:
                return line
    raise DeploymentError("the gallery ended without results")


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} seconds"
    return f"about {seconds / 60:.0f} minutes"


def show_gallery(results: Mapping[str, Any]) -> None:
    """Print the gallery as two tables."""
    out.print(_attack_table(results))
    for name, attack in results["attacks"].items():
        out.print(f"{name}: {attack['does']}", markup=False, highlight=False)
    cells = [*results["attacked"], *results["minority"]]
    if any(each["unreleased"] for each in cells):
        out.print(
            f"{_NONE}: the enclave released no round, for too few updates were admitted for the "
            f"rule; {_SOME}: it released some rounds only",
            markup=False,
        )
    out.print(_minority_table(results))


def _attack_table(results: Mapping[str, Any]) -> Table:
    table = Table(title=f"{results['images']}: accuracy under attack, {_seeds(results)}")
    table.add_column("attack", no_wrap=True)
    for heading in ("attackers", *results["rules"], "not admitted"):
        table.add_column(heading)
    rows: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for each in results["attacked"]:
        rows.setdefault((each["attack"], each["attackers"]), {})[each["rule"]] = each
    for (attack, attackers), by_rule in rows.items():
        if attackers == min(results["setting"]["attackers"]):
            table.add_section()
        table.add_row(
            attack or "none",
            f"{attackers} of {results['clients']}",
            *(_accuracy(by_rule[rule]) for rule in results["rules"]),
            cell("\n".join(_not_admitted(list(by_rule.values())))),
        )
    return table


def _accuracy(result: Mapping[str, Any]) -> str:
    unreleased = sum(result["unreleased"].values())
    if unreleased == result["rounds"]:
        return _NONE
    return _spread(result["accuracy"]) + (_SOME if unreleased else "")


def _spread(value: Mapping[str, float | None]) -> str:
    mean, std = value["mean"], value["std"]
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _not_admitted(row: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how many updates of a row's federations were not admitted, by reason."""
    sent = sum(each["sent_by_attackers"] for each in row)
    lines = [
        f"{count} of {sent} {reason}" for reason, count in _total(row, "rejected_attackers").items()
    ]
    lines += [
        f"{count} honest {reason}" for reason, count in _total(row, "rejected_honest").items()
    ]
    held = sum(each["held_back"] for each in row)
    return [*lines, f"{held} held back by honest clients"] if held else lines


def _total(row: Sequence[Mapping[str, Any]], kind: str) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in row:
        for reason, count in each[kind].items():
            total[reason] = total.get(reason, 0) + count
    return total


def _minority_table(results: Mapping[str, Any]) -> Table:
    classes = " and ".join(map(str, results["minority_classes"]))
    rounds = results["setting"]["minority_rounds"]
    table = Table(
        title=f"no attackers; one of {results['clients']} clients alone holds classes {classes}: "
        f"accuracy after {rounds} rounds, {_seeds(results)}"
    )
    for heading in ("rule", "on its classes", "on the others"):
        table.add_column(heading)
    for each in results["minority"]:
        table.add_row(each["rule"], _spread(each["own"]), _spread(each["others"]))
    return table


def _seeds(results: Mapping[str, Any]) -> str:
    seeds = results["seeds"]
    return "one seed" if seeds == 1 else f"{seeds} seeds: mean ± standard deviation"
