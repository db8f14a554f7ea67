"""The report of a run of the suite: report.json for programs, report.md for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import load_warnings, machine_facts
from benchmarks.rows import Row, as_json
from benchmarks.suite import Measured

QUICK = "Quick run, tiny sizes: these figures mean nothing, and no target is judged."
HEADINGS = ("question", "ours", "peer", "ratio", "target", "met or missed")


def verdict(row: Row, *, quick: bool) -> str:
    """Return `met`, `missed` or why neither; empty where nothing was aimed at."""
    if row.ours is None:
        return row.note or "not measured"
    if row.met is None:
        return ""
    if quick:
        return "not judged"
    return "met" if row.met else "missed"


def figure(value: float | None, unit: str) -> str:
    """Return a figure with its unit, to four digits; bytes per byte to six decimals."""
    if value is None:
        return ""
    return f"{value:.6f} {unit}" if unit == "bytes" else f"{value:.4g} {unit}"


def target(row: Row) -> str:
    """Return what is aimed at."""
    if row.at_least is not None:
        return f"≥ {row.at_least:g}×"
    if row.at_most is not None:
        return f"≤ {row.at_most:g} {row.unit}"
    return ""


def cells(row: Row, *, quick: bool) -> list[str]:
    """Return a row under `HEADINGS`."""
    theirs = ": ".join(filter(None, [row.peer_name, figure(row.peer, row.unit)]))
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
    return [
        row.question,
        figure(row.ours, row.unit),
        theirs,
        ratio,
        target(row),
        verdict(row, quick=quick),
    ]


def as_mapping(
    sections: Sequence[Measured], machine: Mapping[str, Any], *, quick: bool, repeat: int
) -> dict[str, Any]:
    """Return the whole report for JSON."""
    return {
        "quick": quick,
        "repeat": 1 if quick else repeat,
        "machine": dict(machine),
        "warnings": warnings(machine, quick=quick),
        "sections": [
            {
                "name": measured.section.name,
                "question": measured.section.question,
                "left_out": measured.left_out,
                "failures": measured.failures,
                "rows": [
                    {**found, "verdict": verdict(row, quick=quick)}
                    for row, found in zip(measured.rows, as_json(measured.rows), strict=True)
                ],
                "figures": measured.figures,
            }
            for measured in sections
        ],
    }


def warnings(machine: Mapping[str, Any], *, quick: bool) -> list[str]:
    """Return what a reader must know before any figure."""
    return [*([QUICK] if quick else []), *load_warnings(dict(machine))]


def markdown(
    sections: Sequence[Measured],
    machine: Mapping[str, Any],
    plots: Sequence[Path],
    *,
    quick: bool,
    repeat: int,
) -> str:
    """Return report.md."""
    lines = ["# FedEnclave's benchmarks", ""]
    for warning in warnings(machine, quick=quick):
        lines += [f"**{warning}**", ""]
    lines.append(f"{machine['time']}. {machine_facts(dict(machine))}")
    rounds = "one counted round" if quick else f"medians of {repeat} counted rounds"
    lines += [
        "",
        f"Of each {rounds}, in turn with the peer; a ratio says how many times as good ours is, "
        "within one run. A target is on the ratio (≥) or on our own figure (≤).",
        "",
    ]
    for measured in sections:
        lines += _section(measured, quick=quick)
    for plot in plots:
        lines += [f"![{plot.stem}]({plot.name})", ""]
    return "\n".join(lines)


def _section(measured: Measured, *, quick: bool) -> Iterator[str]:
    yield from (f"## {measured.section.question}", "")
    yield from (f"`python -m benchmarks.{measured.section.name}`", "")
    if measured.left_out:
        yield from (measured.left_out, "")
    for failure in measured.failures:
        yield from (f"failed: `{failure}`", "")
    if measured.rows:
        yield f"| {' | '.join(HEADINGS)} |"
        yield "|---" * len(HEADINGS) + "|"
        for row in measured.rows:
            yield f"| {' | '.join(cells(row, quick=quick))} |"
        yield ""
        yield from _notes(measured.rows)


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what a reader must know, each note with the questions that it belongs to."""
    questions: dict[str, list[str]] = {}
    for row in rows:
        if row.note and row.ours is not None:
            beside = f", beside {row.peer_name}" if row.peer_name else ""
            questions.setdefault(row.note, []).append(f"{row.question}{beside}")
    for note, belongs in questions.items():
        yield f"* {'; '.join(belongs)}: {note}."
    if questions:
        yield ""


def write(folder: Path, report: Mapping[str, Any], text: str) -> None:
    """Write both into the report's folder."""
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(text, encoding="utf-8")
