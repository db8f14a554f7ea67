"""FedEnclave, Flower and every other peer in one run: `python -m benchmarks.peers`.

FedEnclave and Flower's FedAvg are measured as in `benchmarks.aggregation`; then each peer, in turn.
Two are so slow or so large that they get fewer clients and parameters: their row says how many.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.aggregation import measure_case
from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, spread
from benchmarks.peers import NOT_MEASURED, PEERS, run_peer

QUICK = (3, 20_000)
AT_MOST = {"nvflare_homomorphic": (10, 1_000_000), "flower_secagg": (10, 1_000_000)}
OURS = {
    "total": "FedEnclave: weighted mean, sealed",
    "close": "FedEnclave: the same, what the round's end waits for",
    "plain": "Flower: FedAvg, plain text",
    "plain_inflated": "Flower: FedAvg, inflated",
}


def size_for(name: str, clients: int, parameters: int) -> tuple[int, int]:
    """Return with how many clients and parameters a peer is measured."""
    most_clients, most_parameters = AT_MOST.get(name, (clients, parameters))
    return min(clients, most_clients), min(parameters, most_parameters)


def add_rows(table: Table, title: str, found: dict[str, Any] | None) -> None:
    """Add a row for each of a peer's ways, or one that says why there is none."""
    if found is None:
        table.add_row(title, NOT_MEASURED)
        return
    for number, (way, seconds) in enumerate(found["seconds"].items()):
        speed = found.get("gigabytes_per_second", {}).get(way)
        name = title if way == "arrived" else f"  {way}"
        cells = [spread(seconds) + (f"  {speed:.1f} GB/s" if speed else "")]
        if number == 0:
            error, wire = found["largest_error"], found["wire"]
            cells += ["" if error is None else f"{error:.1e}", f"{wire:.4g}"]
        table.add_row(name, *cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("peers", __doc__)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--parameters", type=int, default=25_600_000)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds of each (5)")
    parser.add_argument("--only", nargs="*", choices=sorted(PEERS), help="these peers")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    clients, parameters = QUICK if options.quick else (options.clients, options.parameters)
    repeat = 1 if options.quick else options.repeat
    title = f"{clients} clients, {parameters / 1e6:g} M parameters"
    table = Table(title=title)
    for heading in ("", "seconds: median [range]", "largest error", "bytes sent / plain"):
        table.add_column(heading)
    ours = measure_case(clients, parameters, repeat)
    for key, row in OURS.items():
        table.add_row(row, spread(ours[key]))
    peers: dict[str, Any] = {}
    for name in PEERS if options.only is None else options.only:
        size = size_for(name, clients, parameters)
        peers[name] = run_peer(name, *size, repeat)
        row = PEERS[name]
        if size != (clients, parameters):
            row += f", {size[0]} x {size[1] / 1e6:g} M"
        add_rows(table, row, peers[name])
    verdict = "Each peer's own docstring says what is counted, and from which bytes it begins."
    result = {
        "machine": machine,
        "clients": clients,
        "parameters": parameters,
        "fedenclave": ours,
        "peers": peers,
    }
    publish(table, verdict, result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
