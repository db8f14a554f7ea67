"""Every benchmark, each part of it in a process of its own.

In a process of its own a part finds fresh memory, and one that fails or is killed takes no other
with it. Nothing here imports Flower or numpy.

Rules:
  * A part writes its figures as JSON, with the rows that the report shows; what it prints is kept
    for the case that it fails.
  * What parts leave in temporary files goes with the suite, whatever happens to a part.
  * Ctrl-C and SIGTERM end the part that runs, and what it has started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, from_json

ROOT = Path(__file__).parents[1]
GRACE_S = 20.0
SIZES = (("10", "25600000"), ("51", "1000000"))
RULES = (
    *("median", "trimmed-mean", "krum", "multi-krum", "bulyan", "geometric-median", "q-fed-avg"),
    *("momentum", "adam"),
)
FOREIGN = (
    *("nvflare_mean", "openfl_mean", "openfl_geometric_median", "nvflare_homomorphic"),
    "flower_secagg",
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One benchmark.

    Attributes:
        name: its module's.
        question: as the report heads it.
        parts: arguments of each process; `--quick` runs the module once instead.
        repeats: whether it takes `--repeat`.
    """

    name: str
    question: str
    parts: Sequence[Sequence[str]] = ((),)
    repeats: bool = True


SECTIONS = (
    Section(
        name="aggregation",
        question="From sealed bytes as they arrive to the released model: how long, beside Flower?",
        parts=[("--case", "10", "25600000"), ("--case", "100", "1000000")],
    ),
    Section(
        name="robust",
        question="The same by robust rules and server optimisers",
        parts=[("--case", *size, "--rule", rule) for size in SIZES for rule in RULES],
    ),
    Section(
        name="throughput",
        question="How much plaintext a second, beside decryption alone?",
    ),
    Section(
        name="memory",
        question="Does the enclave's memory grow with clients, or with more than the model?",
        parts=[
            ("--rule", rule, "--parameters", parameters, "--cohorts", *cohorts)
            for parameters, cohorts in (
                ("1000000", ("2", "20", "200")),
                ("100000000", ("2", "10")),
            )
            for rule in ("mean", "median")
        ],
        repeats=False,
    ),
    Section(
        name="sealing",
        question="What does sealing cost a client, and how many bytes travel?",
    ),
    Section(
        name="data_at_rest",
        question="How fast is a dataset sealed and read on one core?",
    ),
    Section(
        name="foreign",
        question="The same task by other frameworks",
        parts=[("--peer", peer) for peer in FOREIGN],
    ),
    Section(
        name="flower_round",
        question="How long is a whole round of real processes?",
    ),
    Section(
        name="restart",
        question="What does it cost that a restart loses nothing, and how long does one take?",
    ),
    Section(
        name="attestation",
        question="How long does a client take to judge evidence?",
        repeats=False,
    ),
    Section(
        name="log",
        question="How long does an auditor take for a log of a million events?",
        parts=[(), ("--cohorts", "20", "--signatures", "checkpoints")],
        repeats=False,
    ),
    Section(
        name="receipts",
        question="How long does an auditor take for a receipt, and how many are made a second?",
        repeats=False,
    ),
)
NAMES = tuple(section.name for section in SECTIONS)


@dataclass(kw_only=True)
class Measured:
    """What a section gave.

    Attributes:
        section: which.
        figures: each part's JSON.
        rows: what the report shows.
        failures: what a part said that gave no figures.
        left_out: why the section was not run; empty where it was.
    """

    section: Section
    figures: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: str = ""


def parts_of(section: Section, *, quick: bool, repeat: int) -> list[list[str]]:
    """Return the arguments of every process of a section."""
    if quick:
        return [["--quick"]]
    repeated = ["--repeat", str(repeat)] if section.repeats else []
    return [[*part, *repeated] for part in section.parts]


def why_left_out(section: Section, *, quick: bool, asked_for: bool) -> str:
    """Return why a section is not run; empty where it is."""
    if section.name == "flower_round" and quick and not asked_for:
        return "not measured: half a minute of real processes; --only flower_round asks for it"
    if section.name == "attestation" and not (ROOT / "tests" / "attestation").is_dir():
        return "not measured: it judges the tests' evidence, which only a checkout has"
    if section.name == "attestation" and find_spec("pytest") is None:
        return "not measured: it judges the tests' evidence, which needs pytest: make bench"
    return ""


def run_section(
    section: Section, parts: Sequence[Sequence[str]], advance: Callable[[], None]
) -> Measured:
    """Run these parts of a section; `advance` is called after each."""
    measured = Measured(section=section)
    for arguments in parts:
        found = _run_part(section.name, arguments)
        if isinstance(found, str):
            measured.failures.append(f"{' '.join(arguments)}: {found}")
        else:
            measured.figures.append(found)
            measured.rows += from_json(found["rows"])
        advance()
    return measured


def _run_part(module: str, arguments: Sequence[str]) -> dict[str, Any] | str:
    """Return a part's figures, or the last line of what it said where it gave none."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file, log = Path(folder) / "figures.json", Path(folder) / "log"
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # -P: a folder called benchmarks where the user stands must not be taken for this one.
        command = [sys.executable, "-P", "-m", f"benchmarks.{module}", *arguments]
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*command, "--json", str(file)],
                env={**os.environ, "PYTHONPATH": path, "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it once, through us
            )
            _wait(child)
        if file.exists():
            figures: dict[str, Any] = json.loads(file.read_text("utf-8"))
            return {"arguments": list(arguments), **figures}
        lines = log.read_text("utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        return f"exit status {child.returncode}: {lines[-1]}"


def _wait(child: subprocess.Popen[bytes]) -> None:
    """Wait for a part; where we are interrupted, end it first and let it clean up."""
    try:
        child.wait()
    except BaseException:
        child.send_signal(signal.SIGINT)
        try:
            # A part that ignores the signal, as all do that a script starts with `&`, is killed;
            # what interrupted us, and not that, is what the caller learns.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
        finally:
            child.kill()
            child.wait()
        raise
