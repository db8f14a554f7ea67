"""What runs beside the SuperLink: FedAvg over the hospitals, averaged by an enclave."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential
from scans.initial_model import initial_arrays

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    config = context.run_config
    hospitals = int(config["min-hospitals"])
    strategy = Confidential(
        FedAvg(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=hospitals,
            min_available_nodes=hospitals,
        ),
        aggregator=str(config["aggregator"]) or None,
        root_certificate=str(config["root-certificate"]) or None,
    )
    first = initial_arrays(int(config["seed"]))
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({name: Array(values) for name, values in first.items()}),
        num_rounds=int(config["num-server-rounds"]),
    )
