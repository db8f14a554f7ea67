"""How long does an auditor take for a log of a million events?

The log is synthetic and valid (synthetic_log.py), of rounds of large and small cohorts; the suite
measures another one of small cohorts alone, where announcements and releases are many. It is
verified by the command itself, `fedenclave log verify`, from its start to its last line, on every
core:

  * as it does by default: the signatures of statements that stand for all before them;
  * with `--signatures all`: every one.

Both ways every entry is decoded, every rule of the protocol's specification, section 7.2, checked,
and every checkpoint compared with the tree over all entries before it.

    python -m benchmarks.log [--events 1000000] [--cohorts 1000 200 50 20] [--quick] [--json FILE]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish
from benchmarks.rows import Row
from benchmarks.synthetic_log import manifest_of, write_log
from fedenclave.audit.log import Signatures
from fedenclave.protocol.signing import key_to_text

EVENTS, COHORTS = 1_000_000, (1000, 200, 50, 20)
QUICK_EVENTS, QUICK_COHORTS = 300, (10, 5)
LIMIT_S = 30.0
"""Seconds for a million events that are aimed at."""

WHAT = {
    Signatures.CHECKPOINTS: "as by default, signed checkpoints",
    Signatures.ALL: "every signature",
}


def log_seconds(events: int, cohorts: Sequence[int], ways: Sequence[Signatures]) -> dict[str, Any]:
    """Return how long a log takes to be verified in these ways, and with how much memory."""
    manifest = manifest_of(max(cohorts))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log"
        file.with_name("federation.toml").write_bytes(manifest.source)
        key, entries = write_log(file, manifest, events, cohorts)
        found = {way.value: verified(file, key_to_text(key), way) for way in ways}
        size = file.stat().st_size
    said = [each.pop("said") for each in found.values()]
    assert all(each["entries"] == entries for each in said)
    assert len({each["root"] for each in said}) == 1
    return {
        "entries": entries,
        "rounds": len(said[0]["rounds"]),
        "admissions": said[0]["admissions"],
        "aborts": said[0]["aborts"],
        "cohorts": list(cohorts),
        "bytes": size,
        "cores": len(os.sched_getaffinity(0)),
        "ways": found,
    }


def verified(file: Path, key: str, way: Signatures) -> dict[str, Any]:
    """Run the command; return its seconds, those of CPU, its largest process, and what it said."""
    words = ["log", "verify", str(file), "--key", key, "--signatures", way.value, "--json"]
    # What a child's children used is known once it has waited for them: in a process of its own.
    code = (
        "import json, resource, subprocess, sys, time\n"
        "start = time.perf_counter()\n"
        "said = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True).stdout\n"
        "seconds = time.perf_counter() - start\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps({'seconds': seconds, 'cpu_seconds': used.ru_utime + used.ru_stime,"
        " 'mib': used.ru_maxrss / 1024, 'said': json.loads(said)}))"
    )
    command = [sys.executable, "-m", "fedenclave.cli", *words]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], stdout=subprocess.PIPE, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("log", __doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="entries of the log (1 million)")
    parser.add_argument(
        "--cohorts", type=int, nargs="+", default=COHORTS, help="clients of rounds, in turn"
    )
    parser.add_argument(
        "--signatures", type=Signatures, choices=list(Signatures), help="one way alone (both)"
    )
    options = parser.parse_args(arguments)
    machine = describe_machine()
    events, cohorts = options.events, options.cohorts
    if options.quick:
        events, cohorts = QUICK_EVENTS, QUICK_COHORTS
    ways = [options.signatures] if options.signatures else list(Signatures)
    found = log_seconds(events, cohorts, ways)
    table = Table(title=_title(found))
    for heading in ("what", "seconds", "of CPU", "a second", "MiB"):
        table.add_column(heading)
    for name, way in found["ways"].items():
        table.add_row(
            WHAT[Signatures(name)],
            f"{way['seconds']:.1f}",
            f"{way['cpu_seconds']:.1f}",
            f"{found['entries'] / way['seconds']:,.0f}",
            f"{way['mib']:.0f}",
        )
    publish(
        table,
        _verdict(found),
        {"machine": machine, "log": found},
        options.json,
        rows=_rows(found),
    )
    return 0


def _title(found: dict[str, Any]) -> str:
    sizes = ", ".join(map(str, found["cohorts"]))
    return f"a log of {found['entries']:,} events, {found['rounds']:,} rounds of {sizes} clients"


def _rows(found: dict[str, Any]) -> list[Row]:
    # A target is for a million; of another number the figures say nothing about it.
    million = found["entries"] >= EVENTS
    return [
        Row(
            question=f"an auditor verifies {_title(found)}: {WHAT[Signatures(name)]}",
            unit="s",
            ours=way["seconds"],
            at_most=LIMIT_S if million and name == Signatures.CHECKPOINTS else None,
            note=f"the whole command, {found['cores']} cores, {found['bytes'] / 1e6:,.0f} MB; "
            f"{way['cpu_seconds']:.0f} s of CPU, {way['mib']:.0f} MiB",
        )
        for name, way in found["ways"].items()
    ]


def _verdict(found: dict[str, Any]) -> str:
    if found["entries"] < EVENTS:
        return f"The aim of {LIMIT_S:g} s is for a million events; this log is shorter."
    way = found["ways"].get(Signatures.CHECKPOINTS)
    if way is None:
        return f"The aim of {LIMIT_S:g} s is for what the command does by default."
    return "Within the aim." if way["seconds"] <= LIMIT_S else f"Missed the aim of {LIMIT_S:g} s."


if __name__ == "__main__":
    sys.exit(main())
