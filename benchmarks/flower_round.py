"""How long is a whole Flower round, plain and confidential, with many tensors?

Real processes on loopback: SuperLink with TLS and node authentication, two SuperNodes, a trivial
client. Plain Flower sends 267 arrays each way; FedEnclave one flat array, sealed on the way back,
with appraisal, receipts and a development enclave in the time. The first round also says hello and
is not counted.

    python -m benchmarks.flower_round [--tensors 267] [--parameters 25600000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.processes import ProcessGroup

APP = Path(__file__).parent / "round_app"
NODES = 2


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
    parser = argparse.ArgumentParser(prog="benchmarks.flower_round", description=__doc__)
    parser.add_argument("--tensors", type=int, default=267)
    parser.add_argument("--parameters", type=int, default=25_600_000)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds of each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    sizes = {"tensors": options.tensors, "parameters": options.parameters, "rounds": options.rounds}
    machine = describe_machine()
    sealed = time_rounds(plain=False, **sizes)
    plain = time_rounds(plain=True, **sizes)
    ratio = statistics.median(plain) / statistics.median(sealed)
    table = Table(title=f"a whole round, {NODES} SuperNodes, {options.tensors} tensors")
    for heading in ("", "median s", "all"):
        table.add_column(heading)
    for name, values in (("Flower FedAvg, plain", plain), ("FedEnclave, sealed", sealed)):
        shown = ", ".join(f"{value:.1f}" for value in values)
        table.add_row(name, f"{statistics.median(values):.1f}", shown)
    console = Console()
    console.print(table)
    console.print(f"FedEnclave is {ratio:.2f} times as fast. no TEE hardware was there.")
    if options.json is not None:
        result = {"machine": machine, **sizes, "plain": plain, "sealed": sealed, "ratio": ratio}
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
