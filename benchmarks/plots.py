"""The report's plots: seconds beside the peers', ratios with their targets, memory by clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.rows import Row
from benchmarks.suite import Measured

OURS, PEER, TARGET, MISSED = "#1f6fb4", "#b3b3b3", "#c0392b", "#e08a3c"
ROW_INCHES = 0.55
DPI = 150


def draw(folder: Path, sections: Sequence[Measured], *, quick: bool) -> list[Path]:
    """Draw what there are figures for; return the files."""
    rows = [row for measured in sections for row in measured.rows]
    mark = " (quick run: means nothing)" if quick else ""
    made = []
    for name, figure in (
        ("seconds", _seconds([r for r in rows if r.unit == "s" and r.peer is not None], mark)),
        ("ratios", _ratios([r for r in rows if r.ratio is not None], mark)),
        ("memory", _memory(sections, mark)),
    ):
        if figure is not None:
            made.append(folder / f"{name}.png")
            figure.savefig(made[-1], dpi=DPI, bbox_inches="tight")
            plt.close(figure)
    return made


def _bars(rows: Sequence[Row], title: str) -> tuple[Figure, Any]:
    figure, axes = plt.subplots(figsize=(9, 1.5 + ROW_INCHES * len(rows)))
    axes.set_yticks(range(len(rows)), [f"{r.question}\nbeside {r.peer_name}" for r in rows])
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _seconds(rows: Sequence[Row], mark: str) -> Figure | None:
    if not rows:
        return None
    figure, axes = _bars(rows, f"seconds, sealed and plain: less is better{mark}")
    for shift, colour, label, values in (
        (-0.2, OURS, "FedEnclave, sealed", [row.ours or 0.0 for row in rows]),
        (0.2, PEER, "the peer", [row.peer or 0.0 for row in rows]),
    ):
        places = [place + shift for place in range(len(rows))]
        bars = axes.barh(places, values, height=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
    axes.margins(x=0.12)
    axes.set_xlabel("seconds, logarithmic")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _ratios(rows: Sequence[Row], mark: str) -> Figure | None:
    if not rows:
        return None
    figure, axes = _bars(rows, f"how many times as good as the peer: more is better{mark}")
    values = [row.ratio or 0.0 for row in rows]
    colours = [MISSED if row.at_least is not None and not row.met else OURS for row in rows]
    # Bars begin at one: to the right is better than the peer, to the left worse.
    bars = axes.barh(
        range(len(rows)), [value - 1 for value in values], left=1.0, height=0.5, color=colours
    )
    axes.bar_label(bars, [f"{value:.2f}×" for value in values], fontsize=7, padding=2)
    axes.margins(x=0.12)
    axes.axvline(1.0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        if row.at_least is not None:
            axes.vlines(row.at_least, place - 0.4, place + 0.4, color=TARGET, linewidth=2)
    axes.set_xlabel("times, logarithmic; red line: the target; orange bar: missed it")
    return figure


def _memory(sections: Sequence[Measured], mark: str) -> Figure | None:
    lines = [
        found
        for measured in sections
        if measured.section.name == "memory"
        for figures in measured.figures
        for found in figures["rules"]
    ]
    if not lines:
        return None
    figure, axes = plt.subplots(figsize=(7, 4))
    for found in lines:
        clients = [cohort["clients"] for cohort in found["cohorts"]]
        peaks = [cohort["peak"] / 2**20 for cohort in found["cohorts"]]
        label = f"{found['rule']}, {found['parameters'] / 1e6:g} M parameters"
        (line,) = axes.plot(clients, peaks, marker="o", label=label)
        limit = found["limit"] / 2**20
        axes.hlines(limit, min(clients), max(clients), colors=line.get_color(), linestyles=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("clients, logarithmic")
    axes.set_ylabel("peak, MiB, logarithmic")
    axes.set_title(f"the enclave's memory; dotted: the model and 64 MiB{mark}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8)
    return figure
