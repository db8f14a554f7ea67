"""The server: Flower's quickstart, and one line of FedEnclave."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential
from quickstart.task import Net, load_data, test

app = ServerApp()

# The server's own test points: clients' metrics stay with the clients.
SERVER_PARTITION = 999


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    config = context.run_config
    torch.manual_seed(0)
    strategy = Confidential(  # was: FedAvg(...)
        FedAvg(fraction_train=1.0, fraction_evaluate=0.0),
        aggregator=str(config["aggregator"]) or None,
        root_certificate=str(config["root-certificate"]) or None,
    )

    def server_test(_: int, arrays: ArrayRecord) -> MetricRecord:
        net = Net()
        net.load_state_dict(arrays.to_torch_state_dict())
        return MetricRecord({"accuracy": test(net, load_data(SERVER_PARTITION)[1])})

    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=int(config["num-server-rounds"]),
        evaluate_fn=server_test,
    )
