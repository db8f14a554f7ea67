"""The figure of baselines.py: `python -m bank.plot results.json out.png`.

Left: AUC on each bank's own test loans, mean over the splits with one standard deviation. Right:
what share of loans was bad against what was predicted, in ten bins of as many loans each, for every
method.

Rules: the left axis starts at 0.5, what guessing gets, and says so. matplotlib is imported here and
nowhere else.
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

COLOURS = {
    "local": "#d7dae0",
    "local-ridge": "#9aa1ad",
    "federated": "#1f5fa8",
    "pooled": "#c9a27c",
    "pooled-ridge": "#8c6239",
}
LABELS = {
    "local": "alone, in rounds",
    "local-ridge": "alone, ridge (the stronger)",
    "federated": "federated",
    "pooled": "pooled, in rounds (not allowed)",
    "pooled-ridge": "pooled, ridge (not allowed)",
}
MARKS = dict(zip(COLOURS, "v^oXs", strict=True))
MEAN = "mean of banks"
FLOOR = 0.5


def draw_bars(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw one group of bars a bank, and one for their mean."""
    places = [*results["banks"], MEAN]
    for shift, method in enumerate(COLOURS):
        cells = [results["splits"][method][place] for place in places]
        axes.bar(
            [place + (shift - 2) * 0.17 for place in range(len(places))],
            [cell["mean"] - FLOOR for cell in cells],
            bottom=FLOOR,
            width=0.16,
            color=COLOURS[method],
            yerr=[cell["std"] or 0 for cell in cells],
            error_kw={"ecolor": "#30343b", "elinewidth": 0.8, "capsize": 1.5},
            label=LABELS[method],
        )
    names = []
    for place in results["banks"]:
        loans = results["loans"][place]
        names.append(f"{place.replace('-', ' ')}\n{loans['loans']} loans, {loans['bad']} bad")
    axes.set_xticks(range(len(places)), [*names, "mean\nof banks"], rotation=35, ha="right")
    axes.axvline(len(places) - 1.5, color="#b8bec9", linewidth=0.8)
    axes.set_ylim(FLOOR, 0.9)
    axes.set_title("AUC on own test loans (axis from 0.5, which is guessing)")


def draw_reliability(axes: Axes, results: Mapping[str, Any]) -> None:
    """Draw predicted probability against the share of bad loans."""
    top = 0.0
    for method, colour in COLOURS.items():
        bins = results["reliability"][method]
        predicted, bad = [one["predicted"] for one in bins], [one["bad"] for one in bins]
        cell = results["splits"][method]
        brier, error = cell["brier"]["mean"], cell["calibration error"]["mean"]
        axes.plot(
            predicted,
            bad,
            MARKS[method] + "-",
            color=colour,
            linewidth=1.2,
            markersize=5,
            label=f"{LABELS[method]}: Brier {brier:.4f}, ECE {error:.3f}",
        )
        top = max(top, *predicted, *bad)
    axes.plot([0, top], [0, top], ":", color="#30343b", linewidth=1, label="true probabilities")
    axes.set_xlabel("predicted probability of a bad loan")
    axes.set_ylabel("share of bad loans")
    axes.set_title("Calibration: ten bins of as many test loans each")
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write the figure to `path`; its ending names the format."""
    plt.rcParams.update(STYLE)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(15, 5.6), width_ratios=(1.7, 1), layout="constrained"
    )
    draw_bars(left, results)
    draw_reliability(right, results)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=5, frameon=False)
    figure.supxlabel(
        f"Lending Club, nine regions as banks. Mean of {results['num_splits']} splits of every "
        "bank's loans ± one standard deviation; noise of a split's calibration error: 0.01.",
        fontsize=8,
        color="#4a4f57",
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what bank.baselines --json printed."""
    return draw_from_file("bank", draw, arguments)


if __name__ == "__main__":
    sys.exit(main())
