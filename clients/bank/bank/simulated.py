"""Run the app in Flower's simulation engine with every bank's own folder.

`flwr run` simulates nodes that have no folder: they take their rules from the operator, and keep no
receipts. Here each has the folder that a deployed node would have, so that manifest, keys,
approvals, gateway, enclave and receipts are the real ones, and only SuperLink and SuperNodes are
simulated.

What it reads is a file in JSON: `nodes`, the configuration of each bank's node in the order of
partitions, and `run-config`, which overrides the app's own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from bank import server_app
from bank.placed import PlacedApp, Setting
from fedenclave.protocol.errors import FedEnclaveError

_APP = Path(__file__).parents[1] / "pyproject.toml"


def run(nodes: Sequence[Mapping[str, Setting]], overrides: Mapping[str, Setting]) -> None:
    """Run all rounds, one worker of the engine a core."""
    app = tomllib.loads(_APP.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    config = {**app["config"], **overrides}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        context.run_config = dict(config)
        server_app.main(grid, context)

    run_simulation(
        server_app=server,
        client_app=PlacedApp(nodes, config),
        num_supernodes=len(nodes),
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate a run."""
    parser = argparse.ArgumentParser(prog="bank.simulated", description=main.__doc__)
    parser.add_argument("settings", type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    try:
        told = json.loads(options.settings.read_text(encoding="utf-8"))
        nodes, overrides = list(told["nodes"]), dict(told["run-config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {options.settings} cannot be read: {error}", file=sys.stderr)
        print("hint: want JSON with nodes and run-config", file=sys.stderr)
        return 1
    try:
        run(nodes, overrides)
    except FedEnclaveError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
