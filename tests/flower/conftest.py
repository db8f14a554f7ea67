"""A small Flower app without torch, wrapped by the mod, and grids of it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential, confidential
from tests.flower.memory_grid import MemoryGrid

# Many tensors of odd names, two types: what one flat array has to carry.
INITIAL = {
    "layers.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "layers.0.bias": np.zeros(3, dtype=np.float32),
    "half": np.ones((2, 2), dtype=np.float16),
    "scalar": np.array(1.5, dtype=np.float32),
}
TrainStep = Callable[[int, dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture(autouse=True, scope="module")
def _little_to_collect() -> Iterator[None]:
    """Keep what was there before out of garbage collections: Flower asks for many.

    Some of its strategies do for each client's reply, and to go through all of torch and Ray each
    time took most of what the tests took.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def initial_arrays() -> ArrayRecord:
    return ArrayRecord({name: Array(values) for name, values in INITIAL.items()})


def make_app(step: TrainStep, *, num_examples: object = None, lineage: object = None) -> ClientApp:
    """Return an app whose training is `step(node, arrays)`, weighted by ten times the node."""
    app = ClientApp(mods=[confidential()])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = {name: a.numpy() for name, a in message.content.array_records["arrays"].items()}
        new = step(context.node_id, arrays)
        losses = {"secret-loss": 123456.789, "loss": 1.0 / context.node_id}
        weight = 10 * context.node_id if num_examples is None else num_examples
        metrics = MetricRecord({"num-examples": weight, **losses})
        record = ArrayRecord({name: Array(np.asarray(values)) for name, values in new.items()})
        content = RecordDict({"arrays": record, "metrics": metrics})
        if lineage is not None:
            content["fedenclave.lineage"] = lineage
        return Message(content, reply_to=message)

    @app.train("still")
    def stand_still(message: Message, context: Context) -> Message:
        arrays = message.content.array_records["arrays"]
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 5, "accuracy": 0.123456})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def add_node_number(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: (values + node).astype(values.dtype) for name, values in arrays.items()}


@pytest.fixture
def grid() -> MemoryGrid:
    """Three development nodes whose training adds their number to every parameter."""
    return development_grid(make_app(add_node_number))


def development_grid(app: ClientApp, nodes: tuple[int, ...] = (11, 12, 13)) -> MemoryGrid:
    return MemoryGrid(app, {node: {"fedenclave-insecure": True} for node in nodes})


def run(grid: MemoryGrid, rounds: int = 1, **options: object) -> object:
    """Run rounds on a grid; return the strategy's result."""
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0, **options))
    return strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=rounds)


NO_UPDATE = "this node sends no update; the reason stays in its own log"
"""All that a host is told of what a node finds wrong with its own app's result."""
