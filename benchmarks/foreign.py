"""How long do other frameworks take for the same task, and FedEnclave beside them?

The peers are `benchmarks.peers`, each timed by its own code from the bytes that its server would
receive. Most are processes in a virtual environment of their own, which `make bench-peers` makes;
without it their rows say so. A peer's rounds are timed half before FedEnclave's and half after, by
the same rule: rounds cannot alternate with those of another process.

    python -m benchmarks.foreign [--peer nvflare_mean] [--repeat 5] [--quick] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import case_name, options_parser, publish, spread
from benchmarks.robust import rules_by_name
from benchmarks.rows import Row
from benchmarks.sealed_round import SealedRounds
from benchmarks.trained import first_parameters, trained_parameters
from fedenclave.simulation.federation import DEFAULT_RULES

NOT_MEASURED = "not measured: make bench-peers"
QUICK_CASE = (3, 20_000)
ARRIVED = "arrived"

RunPeer = Callable[[str, int, int, int], dict[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class ForeignPeer:
    """Another framework's way to the same model.

    Attributes:
        name: as the report shows it.
        clients: with how many it is measured.
        parameters: with how many, the slow ones with fewer.
        rule: our rule beside it, a key of `benchmarks.robust.rules_by_name`; empty for the mean.
    """

    name: str
    clients: int = 10
    parameters: int = 25_600_000
    rule: str = ""


PEERS = {
    "nvflare_mean": ForeignPeer(name="NVFlare, weighted mean, plain text"),
    "openfl_mean": ForeignPeer(name="OpenFL, weighted mean, plain text"),
    "openfl_geometric_median": ForeignPeer(
        name="OpenFL, geometric median, plain text", rule="geometric-median"
    ),
    "nvflare_homomorphic": ForeignPeer(
        name="NVFlare with TenSEAL, weighted mean, homomorphic (CKKS)", parameters=1_000_000
    ),
    "flower_secagg": ForeignPeer(name="Flower SecAgg+, masked", parameters=1_000_000),
}


def run_peer() -> RunPeer | None:
    """Return `benchmarks.peers.run_peer`, or None where the peers are not there."""
    if find_spec("benchmarks.peers") is None:
        return None
    found: RunPeer = import_module("benchmarks.peers").run_peer
    return found


def measure_peer(key: str, clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the peer's figures and our seconds, or why there are none."""
    result: dict[str, Any] = {"peer": key, "clients": clients, "parameters": parameters}
    run = run_peer()
    if run is None:
        return result | {"why": NOT_MEASURED}
    half = (repeat + 1) // 2
    try:
        before = run(key, clients, parameters, half)
        if before is None:
            return result | {"why": NOT_MEASURED}
        ours = _our_seconds(PEERS[key].rule, clients, parameters, repeat)
        after = run(key, clients, parameters, half)
    except (RuntimeError, ImportError) as error:
        last = str(error).strip().splitlines() or [type(error).__name__]
        return result | {"why": f"failed: {last[-1][:200]}"}
    assert after is not None
    theirs = [*before["seconds"][ARRIVED], *after["seconds"][ARRIVED]]
    return result | {"total": ours, "arrived": theirs, "figures": [before, after]}


def _our_seconds(rule: str, clients: int, parameters: int, repeat: int) -> list[float]:
    """Return the seconds of sealed rounds by the same rule, after one that is not counted."""
    first = first_parameters(parameters)
    trained = [trained_parameters(first, i) for i in range(clients)]
    rules = rules_by_name(clients)[rule] if rule else DEFAULT_RULES
    with SealedRounds(first, clients, rules) as rounds:
        return [rounds.run(rounds.seal_all(trained)).total for _ in range(repeat + 1)][1:]


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Return what the report shows of a peer."""
    peer = PEERS[found["peer"]]
    size = case_name(found["clients"], found["parameters"])
    question = f"{peer.rule or 'mean'}, {size}: bytes as they arrive to the new model"
    if "why" in found:
        return [Row(question=question, unit="s", peer_name=peer.name, note=found["why"])]
    ours, theirs = statistics.median(found["total"]), statistics.median(found["arrived"])
    return [
        Row(
            question=question,
            unit="s",
            ours=ours,
            peer_name=peer.name,
            peer=theirs,
            ratio=theirs / ours,
            note="the peer's rounds half before ours, half after",
        )
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("foreign", __doc__)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds of each (5)")
    parser.add_argument("--peer", action="append", choices=tuple(PEERS), help="repeatable (all)")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    results = []
    for key in options.peer or PEERS:
        size = QUICK_CASE if options.quick else (PEERS[key].clients, PEERS[key].parameters)
        results.append(measure_peer(key, *size, 1 if options.quick else options.repeat))
    table = Table(title="other frameworks, bytes as they arrive to the new model: median seconds")
    for heading in ("", "FedEnclave, sealed", "the peer"):
        table.add_column(heading)
    rows = [row for found in results for row in rows_of(found)]
    for row, found in zip(rows, results, strict=True):
        cells = (
            ("", found["why"])
            if "why" in found
            else (spread(found["total"]), spread(found["arrived"]))
        )
        table.add_row(f"{row.peer_name}; {row.question}", *cells)
    verdict = "Each peer's own docstring says what is counted, and from which bytes it begins."
    publish(table, verdict, {"machine": machine, "peers": results}, options.json, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
