"""The figure of baselines.py: `python -m hospital.plot results.json out.png`.

Left and middle: accuracy and AUC on each hospital's own test rows, mean over the other splits, with
one standard deviation. Right: the federated model's accuracy after every round on FLamby's split,
with the level of each hospital's local model on that same split as a dotted line.

Rules: bars start at a stated floor, never silently cut; Switzerland has no AUC and the figure says
so. matplotlib is imported here and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from fedenclave.demo.figures import STYLE, draw_from_file
from hospital.data import HOSPITALS

NAMES = dict(zip(HOSPITALS, ("Cleveland", "Hungary", "Switzerland", "Long Beach VA"), strict=True))
METHOD_COLOURS = {"local": "#b8bec9", "federated": "#1f5fa8", "pooled": "#6f7785"}
METHOD_LABELS = {
    "local": "local only (ridge, cross-validated)",
    "federated": "federated",
    "pooled": "pooled data (not allowed)",
}
HOSPITAL_COLOURS = dict(zip(HOSPITALS, ("#1f5fa8", "#c8641b", "#8a8f98", "#2a8c6a"), strict=True))
FLOOR = 0.5


def draw_bars(axes: Axes, results: Mapping[str, Any], metric: str) -> None:
    """Draw one group of bars a hospital."""
    for shift, method in enumerate(METHOD_COLOURS):
        for place, name in enumerate(HOSPITALS):
            cell = results["splits"][method][metric][name]
            if cell is None:
                continue
            at = place + (shift - 1) * 0.27
            axes.bar(
                at,
                cell["mean"] - FLOOR,
                bottom=FLOOR,
                width=0.25,
                color=METHOD_COLOURS[method],
                yerr=cell["std"],
                error_kw={"ecolor": "#30343b", "elinewidth": 0.9, "capsize": 2},
                label=METHOD_LABELS[method] if place == 0 else None,
            )
            axes.text(
                at,
                FLOOR + 0.008,
                f"{cell['mean']:.2f}".lstrip("0"),
                ha="center",
                va="bottom",
                fontsize=7.5,
                color="black" if method == "local" else "white",
            )
    for name, reason in results["no_auc"].items() if metric == "auc" else ():
        axes.text(
            HOSPITALS.index(name),
            FLOOR + 0.02,
            f"not given:\n{reason}",
            ha="center",
            va="bottom",
            fontsize=8,
            color="#6f7785",
        )
    axes.set_xticks(range(len(HOSPITALS)), [NAMES[name] for name in HOSPITALS])
    axes.set_ylim(FLOOR, 1.04)
    axes.set_title({"accuracy": "Accuracy", "auc": "AUC"}[metric] + " on own test patients")


def draw_rounds(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw one line a hospital."""
    history = results["rounds"]
    for name in HOSPITALS:
        colour = HOSPITAL_COLOURS[name]
        values = [scores[name] for scores in history]
        axes.plot(range(len(history)), values, "o-", color=colour, markersize=4, label=NAMES[name])
        alone = results["flamby"]["local"]["accuracy"][name]["mean"]
        axes.axhline(alone, color=colour, linestyle=":", linewidth=1.1)
    axes.set_xticks(range(len(history)), ["start", *(str(n) for n in range(1, len(history)))])
    axes.set_xlabel("round")
    axes.set_ylim(0, 1.04)
    source = {"run": "this run", "memory": "in memory, seed 0"}[results["rounds_from"]]
    axes.set_title(f"Federated accuracy by round ({source})")
    axes.plot([], [], ":", color="#30343b", label="dotted: that hospital alone")
    axes.legend(loc="lower right", fontsize=8, frameon=False)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write the figure to `path`; its ending names the format."""
    plt.rcParams.update(STYLE)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    draw_bars(left, results, "accuracy")
    draw_bars(middle, results, "auc")
    draw_rounds(right, results)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
    figure.supxlabel(
        f"Fed-Heart-Disease. Bars: mean of {results['num_splits']} train/test splits ± one "
        f"standard deviation, axis from {FLOOR}. "
        "Right: FLamby's split (104, 89, 16 and 45 test patients).",
        fontsize=8,
        color="#4a4f57",
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=160)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what hospital.baselines --json printed."""
    return draw_from_file("hospital", draw, arguments)


if __name__ == "__main__":
    sys.exit(main())
