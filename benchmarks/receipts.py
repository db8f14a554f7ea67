"""How long does an auditor take for a receipt, and how many are made a second?

Receipts of real rounds, made by a development enclave in a process of its own. Timed are:

  * alone: `verify_receipt` for one of them, as for whoever has no other. Nothing is shared, and
    every member's approval is checked: the median;
  * in a folder: `judge_files` for all of them, files read: for each, the mean;
  * the command: `fedenclave receipts verify FOLDER --json`, its start and output with it: for each;
  * made: from the round's close until the last client has its receipt verified and kept, the
    aggregation of a tiny model with it, one client after the other.

The same for a TPM's evidence, where the tests and swtpm are at hand: of a software TPM. No other
TEE's receipts can be had without its hardware; what its evidence costs to judge,
`benchmarks.attestation` says. It comes once for a round and a time at which clients accepted it.

    python -m benchmarks.receipts [--quick] [--json FILE]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, timed
from benchmarks.rows import Row
from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.folder import judge_files, receipt_files
from fedenclave.audit.receipt import verify_receipt
from fedenclave.protocol.manifest import Manifest
from fedenclave.simulation.federation import Arrays, SimulatedFederation

ROUNDS, CLIENTS, FEW_CLIENTS = 20, 50, 4
QUICK_ROUNDS, QUICK_CLIENTS = 2, 3
TIMES = 5
LIMIT_MS = 1.0
"""Milliseconds for a receipt that are aimed at."""

MANIFEST = "federation.toml"
ARRAYS: Arrays = {"w": np.zeros(8, np.float32)}


def make(folder: Path, rounds: int, clients: int) -> float:
    """Write a federation's manifest and receipts; return seconds that the receipts took."""
    seconds = 0.0
    with SimulatedFederation.create(ARRAYS, clients=clients) as federation:
        for _ in range(rounds):
            outcome = federation.collect(_train)
            seconds += timed(lambda outcome=outcome: federation.release(outcome))[1]
            assert len(outcome.receipts) == clients
        (folder / MANIFEST).write_bytes(federation.aggregator.info()[0])
        for client, store in federation.stores.items():
            keep(folder, client, store.receipts)
    return seconds


def _train(_: str, base: Arrays) -> tuple[Arrays, int]:
    return {name: value + np.float32(1) for name, value in base.items()}, 1


def keep(folder: Path, client: str, receipts: dict[str, bytes]) -> None:
    """Write a client's receipts into the folder of all clients'."""
    for name, data in receipts.items():
        (folder / f"{name.removesuffix('.receipt')}-{client}.receipt").write_bytes(data)


def verification(folder: Path, times: int) -> dict[str, Any]:
    """Return milliseconds for each of a folder's receipts, in the three ways."""
    trusted = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    files = receipt_files([folder])
    some = [file.read_bytes() for file in files[:: max(1, len(files) // 50)]]
    alone = [timed(lambda d=d: verify_receipt(d, trusted))[1] for _ in range(times) for d in some]
    together = []
    for _ in range(times):
        judged, seconds = timed(lambda: judge_files(files, trusted, NO_ENDORSEMENTS))
        assert all(each.verified is not None for each in judged)
        together.append(seconds / len(files))
    words = ["receipts", "verify", str(folder), "--json"]
    command = [sys.executable, "-m", "fedenclave.cli", *words]
    ran = [
        timed(lambda: subprocess.run(command, capture_output=True, check=True))[1]
        for _ in range(times)
    ]
    return {
        "receipts": len(files),
        "members": trusted.threshold,
        "format": judged[0].verified.attestation.format if judged[0].verified else "",
        "alone_ms": 1000 * statistics.median(alone),
        "folder_ms": 1000 * statistics.median(together),
        "command_ms": 1000 * statistics.median(ran) / len(files),
    }


def development(rounds: int, clients: int, times: int) -> dict[str, Any]:
    """Return the figures of a federation with development evidence."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = make(folder, rounds, clients)
        found = verification(folder, times)
    return {**found, "made_a_second": found["receipts"] / seconds}


def tpm(rounds: int, times: int) -> dict[str, Any] | None:
    """Return the figures of a federation on a software TPM; None where that cannot be."""
    try:
        from benchmarks import tpm_receipts
    except ImportError:
        return None  # an installed package: it comes without the tests
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not tpm_receipts.make(folder, rounds):
            return None
        return verification(folder, times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    options = options_parser("receipts", __doc__).parse_args(arguments)
    machine = describe_machine()
    quick = options.quick
    rounds, times = (QUICK_ROUNDS, 1) if quick else (ROUNDS, TIMES)
    found = {
        "development": development(rounds, QUICK_CLIENTS if quick else CLIENTS, times),
        "few_members": None if quick else development(rounds, FEW_CLIENTS, times),
        "tpm": None if quick else tpm(rounds, times),
    }
    table = Table(title="receipts, one core, milliseconds each")
    for heading in ("evidence", "receipts", "approvals", "alone", "in a folder", "the command"):
        table.add_column(heading)
    for each in found.values():
        if each is not None:
            table.add_row(
                each["format"],
                str(each["receipts"]),
                str(each["members"]),
                *(f"{each[key]:.2f}" for key in ("alone_ms", "folder_ms", "command_ms")),
            )
    rows = [row for each in found.values() if each is not None for row in _rows(each, quick)]
    publish(table, _verdict(found), {"machine": machine, **found}, options.json, rows=rows)
    return 0


def _rows(each: dict[str, Any], quick: bool) -> list[Row]:
    aim = None if quick else LIMIT_MS
    of = f"{each['format']} evidence, {each['members']} approvals"
    ways = {
        "alone_ms": "verifies a receipt alone",
        "folder_ms": f"verifies a folder of {each['receipts']} receipts, each",
        "command_ms": "runs the command for that folder, its start with it, each",
    }
    rows = [
        Row(question=f"an auditor {what}", unit="ms", ours=each[key], at_most=aim, note=of)
        for key, what in ways.items()
    ]
    if "made_a_second" in each:
        made = "receipts made a second, each verified by its client and kept"
        rows.append(Row(question=made, unit="a second", ours=each["made_a_second"], note=of))
    return rows


def _verdict(found: dict[str, Any]) -> str:
    each = found["development"]
    said = "Within the aim" if each["folder_ms"] <= LIMIT_MS else "Missed the aim"
    return (
        f"{said} of {LIMIT_MS:g} ms for a folder. {each['made_a_second']:,.0f} receipts a second "
        f"are made, each verified alone by its client."
    )


if __name__ == "__main__":
    sys.exit(main())
