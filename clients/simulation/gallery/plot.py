"""The two figures, from what summary.py returns: `python -m gallery.plot results.json DIR`.

attacks.png: a panel for each attack, accuracy by the number of attackers, a line for each rule.
minority.png: what each rule makes of a client whose classes nobody else has, with no attacker.

Rules: every panel has the whole range from 0 to 1; a point at which no round was released is marked
as such; a line is dotted where there are more attackers than its rule promises to withstand; what
the enclave rejected is written into the panel. Points are moved aside a little, for lines lie on
each other where rules agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedenclave.demo.figures import STYLE

# Colour and mark: eight rules are told apart without the colour too.
STYLES = {
    "mean": ("#30343b", "o"),
    "norm-bounded mean": ("#8a8f98", "s"),
    "median": ("#1f5fa8", "^"),
    "trimmed-mean": ("#5aa7d6", "v"),
    "krum": ("#c8641b", "D"),
    "multi-krum": ("#e0a526", "P"),
    "bulyan": ("#a23b72", "X"),
    "geometric-median": ("#2a8c6a", "*"),
}
QUIET = "#4a4f57"
_ASIDE = 0.03
_PANELS_A_ROW = 4

Cell = Mapping[str, Any]


def draw_attacks(summary: Mapping[str, Any], path: Path) -> None:
    """Write the figure of the attacks to `path`; its ending names the format."""
    attacks = summary["attacks"]
    rows = -(-(len(attacks) + 1) // _PANELS_A_ROW)
    _set_style()
    figure, grid = plt.subplots(
        rows,
        _PANELS_A_ROW,
        figsize=(15, 4.2 * rows),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    panels = grid.ravel()
    for axes, name in zip(panels, attacks, strict=False):
        _draw_attack(axes, summary, name)
    for axes in panels[len(attacks) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    panels[len(attacks)].legend(handles, labels, loc="center left", frameon=False)
    for axes in panels[max(0, len(attacks) - _PANELS_A_ROW) : len(attacks)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(f"attackers among {summary['clients']} clients")
    figure.suptitle(_subject(summary) + ": accuracy under attack", x=0.01, ha="left")
    _note(
        figure,
        f"{_sizes(summary)}, {summary['setting']['rounds']} rounds. Every update sealed, and "
        "aggregated by an enclave process. Dotted: more attackers than the rule promises to "
        "withstand. Open circle: no round was released. Grey: guessing.",
    )
    _save(figure, path)


def _draw_attack(axes: Axes, summary: Mapping[str, Any], attack: str) -> None:
    clients, rules = summary["clients"], summary["rules"]
    axes.axhline(0.1, color="#d5d8dd", linewidth=1, zorder=0)
    for place, (name, about) in enumerate(rules.items()):
        cells = [
            cell
            for cell in summary["attacked"]
            if cell["rule"] == name and cell["attack"] in ("", attack)
        ]
        colour, mark = STYLES[name]
        limit = clients if about["withstands"] is None else about["withstands"]
        aside = (place - (len(rules) - 1) / 2) * _ASIDE
        draw_line(axes, cells, name=name, limit=limit, colour=colour, mark=mark, aside=aside)
    axes.set_xlim(-0.2, max(summary["setting"]["attackers"]) + 0.2)
    axes.set_xticks([0, *summary["setting"]["attackers"]])
    axes.set_ylim(0, 1)
    axes.set_title(summary["attacks"][attack]["title"])
    axes.text(
        0.01,
        0.99,
        rejected(summary, attack),
        transform=axes.transAxes,
        fontsize=8,
        color=QUIET,
        va="top",
    )


def draw_line(
    axes: Axes,
    cells: Sequence[Cell],
    *,
    name: str,
    limit: int,
    colour: str,
    mark: str,
    aside: float,
) -> None:
    """Draw one rule: solid up to `limit` attackers, dotted beyond, open where nothing came out."""
    at = [cell["attackers"] + aside for cell in cells]
    means = [cell["accuracy"]["mean"] for cell in cells]
    within = sum(cell["attackers"] <= limit for cell in cells)
    axes.plot(at[:within], means[:within], color=colour, linewidth=1.4)
    axes.plot(at[within - 1 :], means[within - 1 :], ":", color=colour, linewidth=1.4)
    axes.errorbar(
        at,
        means,
        yerr=[cell["accuracy"]["std"] or 0 for cell in cells],
        color=colour,
        fmt=mark,
        markersize=5,
        elinewidth=0.8,
        label=name,
    )
    silent = [place for place, cell in enumerate(cells) if unreleased(cell) == cell["rounds"]]
    axes.plot(
        [at[place] for place in silent],
        [means[place] for place in silent],
        "o",
        color=colour,
        markerfacecolor="white",
        markersize=10,
        zorder=0,
    )


def unreleased(cell: Cell) -> int:
    """Return how many of its rounds released nothing."""
    return sum(cell["unreleased"].values())


def rejected(summary: Mapping[str, Any], attack: str) -> str:
    """Return what the enclave rejected in an attack's federations, for all rules together."""
    cells = [cell for cell in summary["attacked"] if cell["attack"] == attack]
    sent = sum(cell["sent_by_attackers"] for cell in cells)
    lines = []
    for who, of in (
        ("rejected_attackers", f" of {sent:,} attackers'"),
        ("rejected_honest", " honest"),
    ):
        counts: dict[str, int] = {}
        for cell in cells:
            for reason, count in cell[who].items():
                counts[reason] = counts.get(reason, 0) + count
        lines += [f"{count:,}{of} updates rejected: {why}" for why, count in counts.items()]
    held = sum(cell["held_back"] for cell in cells)
    if held:
        lines.append(f"{held:,} honest updates held back: not finite")
    return "\n".join(lines) or "no update rejected"


def draw_minority(summary: Mapping[str, Any], path: Path) -> None:
    """Write the figure of the minority to `path`."""
    _set_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
    for cell in summary["minority"]:
        colour, mark = STYLES[cell["rule"]]
        rounds = range(1, len(cell["own_by_round"]) + 1)
        left.plot(
            rounds,
            cell["own_by_round"],
            mark + "-",
            color=colour,
            markersize=4,
            markevery=max(1, len(rounds) // 10),
            linewidth=1.4,
        )
    left.set_xlabel("round")
    left.set_ylim(-0.02, 1)
    left.set_title("On the minority's classes, by round")
    _draw_shares(right, summary["minority"])
    classes = " and ".join(map(str, summary["minority_classes"]))
    figure.suptitle(
        f"{_subject(summary)}: one of {summary['clients']} clients alone holds classes {classes}, "
        "and nobody attacks",
        x=0.01,
        ha="left",
    )
    _note(
        figure,
        f"{_sizes(summary)}, {summary['setting']['minority_rounds']} rounds; every client holds "
        "equally many rows. Accuracy on test rows of the minority's classes, and on the others.",
    )
    _save(figure, path)


def _draw_shares(axes: Axes, cells: Sequence[Cell]) -> None:
    for place, cell in enumerate(cells):
        colour, mark = STYLES[cell["rule"]]
        for kind, shift, alpha in (("own", -0.19, 1.0), ("others", 0.19, 0.35)):
            value, std = cell[kind]["mean"], cell[kind]["std"]
            axes.barh(
                place + shift,
                value,
                height=0.36,
                color=colour,
                alpha=alpha,
                xerr=std,
                error_kw={"elinewidth": 0.9, "capsize": 2},
            )
            axes.text(
                value + (std or 0) + 0.01, place + shift, f"{value:.2f}", va="center", fontsize=8
            )
        axes.plot([-0.02], [place - 0.19], mark, color=colour, markersize=5, clip_on=False)
    axes.set_yticks(range(len(cells)), [cell["rule"] for cell in cells])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, pad=12)
    axes.set_xlim(0, 1)
    axes.set_title("At the end: minority's classes (strong), the others' (pale)")


def _subject(summary: Mapping[str, Any]) -> str:
    seeds = summary["seeds"]
    return f"{summary['images']}, " + ("one seed" if seeds == 1 else f"mean of {seeds} seeds")


def _sizes(summary: Mapping[str, Any]) -> str:
    setting = summary["setting"]
    return f"{setting['train_rows']:,} training and {setting['test_rows']:,} test images"


def _note(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=8, color=QUIET, x=0.01, ha="left")


def _set_style() -> None:
    plt.rcParams.update(STYLE)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=140)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figures of a gallery that was run before."""
    parser = argparse.ArgumentParser(prog="gallery.plot", description=main.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        summary = json.loads(options.results.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"error: {options.results} cannot be read: {error}", file=sys.stderr)
        print("hint: fedenclave simulate gallery --out DIR writes it", file=sys.stderr)
        return 1
    draw_attacks(summary, options.out / "attacks.png")
    draw_minority(summary, options.out / "minority.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
