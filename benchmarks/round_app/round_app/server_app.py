"""The server: writes when each round ended."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run rounds over equally large tensors."""
    config = context.run_config
    count, parameters = int(config["tensors"]), int(config["parameters"])
    # All different: Flower names what it sends by content, and would send equal tensors once.
    draw = np.random.default_rng(0)
    arrays = {
        f"layer{i}": Array(draw.standard_normal(parameters // count, dtype=np.float32))
        for i in range(count)
    }
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0)
    if not config["plain"]:
        from fedenclave.flower import Confidential

        strategy = Confidential(strategy)
    ends: list[float] = []

    def note(_: int, arrays: ArrayRecord) -> MetricRecord | None:
        del arrays
        ends.append(time.monotonic())
        Path(str(config["times"])).write_text(json.dumps(ends))
        return None

    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(arrays),
        num_rounds=int(config["num-server-rounds"]),
        evaluate_fn=note,
    )
