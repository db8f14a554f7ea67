"""T8: nothing that the operator writes tells one client's app from another's.

The apps here write down all that they can read; the operator changes what it can for one node.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential, carrier, confidential
from fedenclave.flower.told import most_said
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.training_config import NOTHING
from tests.flower.conftest import development_grid, initial_arrays
from tests.flower.memory_grid import MemoryGrid

Seen = dict[int, list[Any]]
TELLING = ("_ttl", "_src_node_id", "_run_id", "_message_id", "_reply_to_message_id", "_src_task_id")


def watching(seen: Seen, *, spoil: Callable[[Context], None] | None = None) -> MemoryGrid:
    """Return a grid whose apps write down what they read of a training message."""
    app = ClientApp(mods=[confidential()])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metadata = message.metadata
        told = [
            [
                (name, list(record.items()))
                for name, record in message.content.config_records.items()
            ],
            list(message.content),
            list(context.run_config.items()),
            {key: metadata.__dict__.get(key) for key in TELLING},
            (metadata.message_type, metadata.group_id),
            abs(metadata.created_at - time.time()) < 60,
        ]
        seen.setdefault(context.node_id, []).append(told)
        if spoil is not None:
            spoil(context)
        arrays: ArrayRecord = message.content.array_records["arrays"]
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"m": MetricRecord({"num-examples": 1})}), reply_to=message)

    return development_grid(app)


def run(grid: MemoryGrid, *, rounds: int = 1, evaluate: float = 0.0) -> None:
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=evaluate))
    strategy.start(
        grid=grid,
        initial_arrays=initial_arrays(),
        num_rounds=rounds,
        train_config=ConfigRecord({"lr-a": 1.0, "lr-z": 0.0}),
    )


def in_another_order(message: Message) -> Message:
    if carrier.BULK in message.content:
        content = RecordDict()
        for name in reversed(list(message.content)):
            record = message.content[name]
            if isinstance(record, ConfigRecord):
                record = ConfigRecord({key: record[key] for key in reversed(list(record))})
            content[name] = record
        message.content = content
    return message


def with_other_metadata(message: Message) -> Message:
    if carrier.BULK in message.content:
        for key in TELLING:
            message.metadata.__dict__[key] = "x" if key.endswith("message_id") else 7
        message.metadata.__dict__["_created_at"] = 1.0
    return message


@pytest.mark.parametrize("change", [in_another_order, with_other_metadata])
def test_app_is_not_told_apart_by_the_order_or_the_metadata_of_its_message(
    change: Callable[[Message], Message],
) -> None:
    seen: Seen = {}
    grid = watching(seen)
    grid.on_request[12] = change
    run(grid)
    assert not grid.errors
    assert seen[12] == seen[11] == seen[13]
    assert seen[12][0][-1] is True, "the time is the node's own"


def test_app_is_not_told_apart_by_the_order_of_its_run_configuration() -> None:
    seen: Seen = {}
    grid = watching(seen)
    for node, context in grid.contexts.items():
        keys = ["a", "z"] if node == 12 else ["z", "a"]
        context.run_config.update({key: float(ord(key)) for key in keys})
    run(grid)
    assert not grid.errors
    assert seen[12] == seen[11]


@pytest.mark.parametrize("field", ["run_id", "series_id"])
def test_superlink_giving_one_node_another_run_is_refused(field: str) -> None:
    seen: Seen = {}
    grid = watching(seen)
    setattr(grid.contexts[12], field, 77)
    run(grid)
    assert 12 not in seen
    assert any("this client is told to train by" in error for error in grid.errors)


@pytest.mark.parametrize(
    ("kind", "message_type"), [("evaluate", "train"), ("train", "evaluate"), ("hello", "evaluate")]
)
def test_message_whose_kind_and_type_differ_runs_nothing(kind: str, message_type: str) -> None:
    """By its kind it needs no offer; by its type it would train, unseen and unbound."""
    seen: Seen = {}
    grid = watching(seen)

    def turn(message: Message) -> Message:
        if message.content.config_records[carrier.RECORD]["kind"] == kind:
            message.metadata.__dict__["_message_type"] = message_type
        return message

    grid.on_request[12] = turn
    run(grid, evaluate=1.0)
    assert any("of another to Flower" in error for error in grid.errors)
    assert len(seen.get(12, [])) == (1 if kind == "evaluate" else 0)


def test_app_writing_into_its_run_configuration_loses_no_round() -> None:
    def spoil(context: Context) -> None:
        context.run_config["best"] = None  # type: ignore[assignment]

    seen: Seen = {}
    grid = watching(seen, spoil=spoil)
    run(grid, rounds=2)
    assert not grid.errors
    assert [len(told) for told in seen.values()] == [2, 2, 2]


def test_error_message_from_the_server_is_refused_like_any_other() -> None:
    grid = watching({})

    def fail(message: Message) -> Message:
        message.__dict__["_content"], message.__dict__["_error"] = None, Error(3, "x")
        return message

    grid.on_request[12] = fail
    run(grid)
    assert any("carries no offer from an enclave" in error for error in grid.errors)


def test_one_node_lying_about_how_its_run_is_set_stops_nobody() -> None:
    """T15: the server can only ask the nodes, and believes most of them."""
    seen: Seen = {}
    grid = watching(seen)

    def lie(message: Message) -> Message:
        if not message.has_error():
            message.content.config_records[carrier.RECORD]["run-config"] = bytes(32)
        return message

    grid.on_reply[11] = lie
    run(grid, rounds=2)
    assert not grid.errors
    assert [len(told) for told in seen.values()] == [2, 2, 2]


def test_an_organisation_with_many_clients_has_one_voice() -> None:
    """T15."""
    truth, lie = Digest(bytes([1]) * 32), Digest(bytes(32))
    honest = [("alpha", truth), ("beta", truth)]
    assert most_said([*[("gamma", lie)] * 9, *honest]) == truth
    assert most_said([("gamma", lie), *honest]) == truth
    assert most_said([]) == NOTHING
