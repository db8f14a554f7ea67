"""What runs beside the SuperLink: FedAvg over the hospitals, averaged by an enclave.

The server holds no patient's row and imports no torch: models are two numpy arrays. With
`models-dir` it keeps the model of every round, which baselines.py can judge afterwards, on the
machine of whoever has test rows. Rounds, seeds and the rest: pyproject.toml.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential
from hospital.initial_model import initial_parameters, write_parameters
from hospital.records import named

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
    folder = str(config["models-dir"])

    def keep(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if folder:
            path = Path(folder) / f"round-{server_round:02d}.npz"
            write_parameters(arrays.to_numpy_ndarrays(), path)
        return None

    strategy.start(
        grid=grid,
        initial_arrays=named(initial_parameters(int(config["seed"]))),
        num_rounds=int(config["num-server-rounds"]),
        evaluate_fn=keep,
    )
