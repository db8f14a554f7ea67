"""How long does an auditor take for a receipt, and for a log of a million events?

The log is synthetic and valid: rounds of a roster's every client, each statement signed, made by
the protocol's own functions. It is verified twice, by `fedenclave.audit.log.verify_log`, as
`fedenclave log verify` does it:

  * every signature, by one process for each core; all else by one process beside them;
  * the signatures of statements that stand for all before them, by one process.

Both times every entry is decoded, every rule of the protocol's specification, section 7.2, checked,
and every checkpoint compared with the tree over all entries before it. The receipts are a real
round's, with development evidence; those with a TEE's take longer by what `benchmarks.attestation`
says.

    python -m benchmarks.log [--events 1000000] [--quick] [--json FILE]
"""

from __future__ import annotations

import os
import resource
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, timed
from benchmarks.rows import Row
from fedenclave.audit.log import Signatures, VerifiedLog, verify_log
from fedenclave.audit.receipt import verify_receipt
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.log_file import MAGIC, frame
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key, sign, statement_digest
from fedenclave.protocol.statements import (
    VERSION,
    Admission,
    Announcement,
    Checkpoint,
    FederationStatement,
    Release,
    Start,
)
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import Arrays, SimulatedFederation, development_manifest

EVENTS, CLIENTS = 1_000_000, 1000
QUICK_EVENTS, QUICK_CLIENTS = 300, 10
RECEIPTS = 20
LIMIT_S = 30.0
"""Seconds for a million events that are aimed at."""

ARRAYS: Arrays = {"w": np.zeros(8, np.float32)}


class Enclave:
    """Signs what an honest enclave would, and keeps the tree."""

    def __init__(self, manifest: Manifest) -> None:
        """Make a key."""
        self.key = Ed25519PrivateKey.generate()
        self._manifest = manifest
        self._tree = Frontier()
        self._basics: dict[str, Any] = {
            "version": VERSION,
            "federation": manifest.name,
            "manifest": manifest.digest,
        }

    def _append(self, statement: FederationStatement) -> bytes:
        signed = sign(statement, self.key)
        self._tree.append(statement_digest(signed))
        return signed

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(size=self._tree.size, root=self._tree.root())

    def start(self) -> bytes:
        """Return the first entry."""
        manifest = self._manifest
        return self._append(
            Start(
                **self._basics,
                model=manifest.initial_model,
                schema=manifest.schema,
                measurement=sha256(b"benchmark"),
                time=0,
            )
        )

    def round(self, number: int) -> Iterator[bytes]:
        """Yield a round's entries: all clients of the roster are admitted, and in the release."""
        manifest, clients = self._manifest, tuple(sorted(self._manifest.roster))
        announcement = self._append(
            Announcement(
                **self._basics,
                round=number,
                base_model=self._model(number - 1),
                schema=manifest.schema,
                training_config=NO_TRAINING_CONFIG,
                suite=manifest.suite,
                public_key=secrets.token_bytes(32),
                cohort=clients,
                available=(),
                checkpoint=self._checkpoint(),
                time=number,
            )
        )
        yield announcement
        for client in clients:
            update = Digest(secrets.token_bytes(32))
            yield self._append(
                Admission(**self._basics, round=number, client=client, update=update)
            )
        yield self._append(
            Release(
                **self._basics,
                round=number,
                announcement=statement_digest(announcement),
                base_model=self._model(number - 1),
                model=self._model(number),
                schema=manifest.schema,
                cohort=sha256(b"report"),
                clients=len(clients),
                organisations=len(manifest.organisations(clients)),
                metrics=(),
                checkpoint=self._checkpoint(),
                time=number,
            )
        )

    def _model(self, number: int) -> Digest:
        return sha256(f"model {number}".encode()) if number else self._manifest.initial_model


def manifest_of(clients: int) -> Manifest:
    """Return a manifest with that many clients."""
    schema = schema_of(ARRAYS)
    model = Model(schema=schema, payload=bytes(pack(schema, ARRAYS)))
    keys = {f"client-{i}": PublicKey(secrets.token_bytes(32)) for i in range(clients)}
    manifest, _ = development_manifest(model, keys, measurement="sha256:" + "00" * 32)
    return manifest


def write_log(file: Path, manifest: Manifest, events: int) -> tuple[PublicKey, int]:
    """Write a log of about as many entries; return the enclave's key, and how many it has."""
    enclave, entries, number = Enclave(manifest), 1, 0
    with file.open("wb") as stream:
        stream.write(MAGIC + frame(enclave.start()))
        while entries < events:
            number += 1
            for signed in enclave.round(number):
                stream.write(frame(signed))
                entries += 1
    return public_key(enclave.key), entries


def verified(
    file: Path, key: PublicKey, manifest: Manifest, signatures: Signatures, processes: int
) -> VerifiedLog:
    """Verify the log as `fedenclave log verify` does."""
    with file.open("rb") as stream:
        return verify_log(stream, key, manifest, signatures=signatures, processes=processes)


def cpu_seconds() -> float:
    """Return what this process and those that it has waited for have used of all cores."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def log_seconds(events: int, clients: int) -> dict[str, Any]:
    """Return how long a log takes to be verified in both ways."""
    cores = len(os.sched_getaffinity(0))
    manifest = manifest_of(clients)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log"
        key, entries = write_log(file, manifest, events)
        before = cpu_seconds()
        every, all_s = timed(lambda: verified(file, key, manifest, Signatures.ALL, cores))
        between = cpu_seconds()
        some, some_s = timed(lambda: verified(file, key, manifest, Signatures.CHECKPOINTS, 1))
        after = cpu_seconds()
        size = file.stat().st_size
    assert every.checkpoint == some.checkpoint
    assert every.checkpoint.size == entries
    return {
        "entries": entries,
        "rounds": len(every.rounds),
        "bytes": size,
        "processes": cores,
        "seconds": {"all": all_s, "checkpoints": some_s},
        "cpu_seconds": {"all": between - before, "checkpoints": after - between},
    }


def receipt_ms(clients: int, times: int) -> float:
    """Return milliseconds that a receipt takes: the median over a real round's."""
    with SimulatedFederation.create(ARRAYS, clients=clients) as federation:
        federation.run_round(lambda _, base: ({k: v + np.float32(1) for k, v in base.items()}, 1))
        manifest = Manifest.from_bytes(federation.aggregator.info()[0])
        receipts = [data for s in federation.stores.values() for data in s.receipts.values()]
    assert len(receipts) == clients
    runs = [
        timed(lambda data=data: verify_receipt(data, manifest))[1]
        for _ in range(times)
        for data in receipts
    ]
    return 1000 * statistics.median(runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("log", __doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="entries of the log (1 million)")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    events, clients = (QUICK_EVENTS, QUICK_CLIENTS) if options.quick else (options.events, CLIENTS)
    receipt = receipt_ms(2 if options.quick else 10, 1 if options.quick else RECEIPTS)
    found = log_seconds(events, clients)
    table = Table(
        title=f"an auditor's work, {found['entries']:,} events of {found['rounds']} rounds"
    )
    for heading in ("what", "seconds", "of CPU", "a second"):
        table.add_column(heading)
    table.add_row("a receipt, one core", f"{receipt / 1000:.4f}", "", f"{1000 / receipt:,.0f}")
    for name, seconds in found["seconds"].items():
        cpu, rate = found["cpu_seconds"][name], found["entries"] / seconds
        table.add_row(_what(name, found), f"{seconds:.1f}", f"{cpu:.1f}", f"{rate:,.0f}")
    result = {"machine": machine, "receipt_ms": receipt, "log": found}
    publish(table, _verdict(found), result, options.json, rows=_rows(receipt, found))
    return 0


def _what(name: str, found: dict[str, Any]) -> str:
    if name == Signatures.ALL:
        return f"the log, every signature, {found['processes']} processes"
    return "the log, signatures of statements that vouch for others, one process"


def _rows(receipt: float, found: dict[str, Any]) -> list[Row]:
    # A target is for a million; of another number the figures say nothing about it.
    million = found["entries"] >= EVENTS
    return [
        Row(
            question="an auditor verifies a receipt",
            unit="ms",
            ours=receipt,
            note=f"{1000 / receipt:,.0f} a second on one core; development evidence",
        ),
        *(
            Row(
                question=f"an auditor verifies {_what(name, found)}",
                unit="s",
                ours=seconds,
                at_most=LIMIT_S if million else None,
                note=f"{found['entries']:,} events of {found['rounds']} rounds, "
                f"{found['bytes'] / 1e6:,.0f} MB; {found['cpu_seconds'][name]:.0f} s of CPU",
            )
            for name, seconds in found["seconds"].items()
        ),
    ]


def _verdict(found: dict[str, Any]) -> str:
    if found["entries"] < EVENTS:
        return f"The aim of {LIMIT_S:g} s is for a million events; this log is shorter."
    missed = [_what(n, found) for n, s in found["seconds"].items() if s > LIMIT_S]
    return f"Missed the aim: {'; '.join(missed)}." if missed else "Both are within the aim."


if __name__ == "__main__":
    sys.exit(main())
