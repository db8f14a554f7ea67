"""What runs beside the SuperLink: FedAvg over the banks, averaged by an enclave.

The server holds no loan and imports no torch. With `models-dir` it keeps the model of every round
and the validation losses that the enclave released (run.py reads both). Rounds, seeds and the rest:
pyproject.toml.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from bank.parameters import initial, write_parameters
from bank.records import RUN, VALIDATION_LOSS, named, unnamed
from fedenclave.flower import Confidential
from fedenclave.simulation.federation import DEFAULT_RULES

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    config = context.run_config
    banks = int(config["min-banks"])
    strategy = Confidential(
        FedAvg(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=banks,
            min_available_nodes=banks,
        ),
        aggregator=str(config["aggregator"]) or None,
        root_certificate=str(config["root-certificate"]) or None,
        # With an aggregator the members' manifest names what is let out, and these do nothing.
        rules=replace(DEFAULT_RULES, metrics=(VALIDATION_LOSS,)),
    )
    folder = Path(str(config["models-dir"]))
    kept = bool(str(config["models-dir"]))

    def keep(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if kept:
            write_parameters(unnamed(arrays), folder / f"round-{server_round:02d}.npz")
        return None

    rounds = int(config["num-server-rounds"])
    result = strategy.start(
        grid=grid, initial_arrays=named(initial()), num_rounds=rounds, evaluate_fn=keep
    )
    if kept:
        released = result.train_metrics_clientapp
        # None where a round had no release: the next one began with the same model.
        losses = [
            float(released[at][VALIDATION_LOSS]) if at in released else None
            for at in range(1, rounds + 1)
        ]
        told = {"seed": int(config["seed"]), "validation-losses": losses}
        (folder / RUN).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
