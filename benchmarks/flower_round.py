"""How long is a whole Flower round, plain and confidential, with many tensors?

Real processes on loopback: SuperLink with TLS and node authentication, two SuperNodes, a trivial
client. Plain Flower sends 267 arrays each way; FedEnclave one flat array, sealed on the way back,
with appraisal, receipts and a development enclave in the time. The first round also says hello and
is not counted.

    python -m benchmarks.flower_round [--tensors 267] [--parameters 25600000] [--repeat 3] [--quick]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish
from benchmarks.rows import Row
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.processes import ProcessGroup

APP = Path(__file__).parent / "round_app"
NODES = 2
QUICK = {"tensors": 3, "parameters": 30_000, "rounds": 1}
AT_LEAST = 2.0


def time_rounds(*, plain: bool, tensors: int, parameters: int, rounds: int) -> list[float]:
    """Return the seconds of every round but the first."""
    with tempfile.TemporaryDirectory() as folder, ProcessGroup(Path(folder) / "flower") as group:
        environment = {"ROUND_APP_PLAIN": "1"} if plain else {}
        config = {"fedenclave-insecure": True}
        nodes = [
            Node(name=f"node-{i}", config=config, environment=environment) for i in range(NODES)
        ]
        deployment = FlowerDeployment(group, nodes)
        deployment.start()
        times = Path(folder) / "times.json"
        deployment.run(
            APP,
            {
                "num-server-rounds": rounds + 1,
                "tensors": tensors,
                "parameters": parameters,
                "plain": plain,
                "times": str(times),
            },
        )
        ends = json.loads(times.read_text())
    return [b - a for a, b in pairwise(ends[1:])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Time both, print a table, write JSON."""
    parser = options_parser("flower_round", __doc__)
    parser.add_argument("--tensors", type=int, default=267)
    parser.add_argument("--parameters", type=int, default=25_600_000)
    parser.add_argument("--repeat", type=int, default=3, help="counted rounds of each (3)")
    options = parser.parse_args(arguments)
    sizes = {"tensors": options.tensors, "parameters": options.parameters, "rounds": options.repeat}
    sizes = QUICK if options.quick else sizes
    machine = describe_machine()
    sealed = time_rounds(plain=False, **sizes)
    plain = time_rounds(plain=True, **sizes)
    ratio = statistics.median(plain) / statistics.median(sealed)
    table = Table(title=f"a whole round, {NODES} SuperNodes, {sizes['tensors']} tensors")
    for heading in ("", "median s", "all"):
        table.add_column(heading)
    for name, values in (("Flower FedAvg, plain", plain), ("FedEnclave, sealed", sealed)):
        shown = ", ".join(f"{value:.1f}" for value in values)
        table.add_row(name, f"{statistics.median(values):.1f}", shown)
    row = Row(
        question=f"a whole round of {NODES} SuperNodes, {sizes['tensors']} tensors of "
        f"{sizes['parameters'] / 1e6:g} M in all",
        unit="s",
        ours=statistics.median(sealed),
        peer_name="Flower FedAvg, plain text, as many SuperNodes",
        peer=statistics.median(plain),
        ratio=ratio,
        at_least=AT_LEAST,
        note="real processes on loopback; one deployment after the other",
    )
    result = {"machine": machine, **sizes, "plain": plain, "sealed": sealed, "ratio": ratio}
    verdict = f"FedEnclave is {ratio:.2f} times as fast."
    publish(table, verdict, result, options.json, rows=[row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
