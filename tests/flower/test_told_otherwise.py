"""A node that is told to train in another way than the others sends nothing, and says so."""

from __future__ import annotations

import pytest
from flwr.app import (
    ConfigRecord,
    Message,
    RecordDict,
)
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential, carrier
from fedenclave.protocol.errors import ConfigurationError
from tests.flower.conftest import initial_arrays, run
from tests.flower.memory_grid import Change, MemoryGrid


def _learning_rate_zero(message: Message) -> Message:
    for name, config in message.content.config_records.items():
        if name != carrier.RECORD:
            config["lr"] = 0.0
    return message


def _another_function(message: Message) -> Message:
    if carrier.BULK in message.content:
        message.metadata.__dict__["_message_type"] = "train.still"
    return message


def _another_group(message: Message) -> Message:
    if carrier.BULK in message.content:
        message.metadata.__dict__["_group_id"] = "stand-still"
    return message


def _one_more_record(message: Message) -> Message:
    message.content["more"] = ConfigRecord()
    return message


@pytest.mark.parametrize(
    "change", [_learning_rate_zero, _another_function, _another_group, _one_more_record]
)
def test_server_telling_one_client_to_train_in_another_way_is_refused(
    change: Change, grid: MemoryGrid
) -> None:
    grid.on_request[12] = change
    run(grid)
    assert any("this client is told to train by" in error for error in grid.errors)
    assert sum(b"FEU1" in answer for answer in grid.answered) == 2


def test_superlink_setting_the_run_otherwise_at_one_node_is_refused(grid: MemoryGrid) -> None:
    grid.contexts[12].run_config["learning-rate"] = 0.0
    run(grid)
    assert any("this client is told to train by" in error for error in grid.errors)
    assert sum(b"FEU1" in answer for answer in grid.answered) == 2


def test_run_configuration_that_all_nodes_share_is_no_obstacle(grid: MemoryGrid) -> None:
    for context in grid.contexts.values():
        context.run_config["learning-rate"] = 0.1
    run(grid, rounds=2)
    assert not grid.errors
    assert sum(b"FEU1" in answer for answer in grid.answered) == 6


def test_strategy_that_configures_its_clients_differently_is_refused(grid: MemoryGrid) -> None:
    class Favourites(FedAvg):
        def configure_train(self, *arguments: object) -> list[Message]:
            messages = list(super().configure_train(*arguments))
            first = messages[0]
            # Flower's own strategies share one content among all messages.
            content = RecordDict({**first.content, "config": ConfigRecord({"lr": 0.0})})
            node = first.metadata.dst_node_id
            messages[0] = Message(content, message_type="train", dst_node_id=node)
            return messages

    strategy = Confidential(Favourites(fraction_train=1.0, fraction_evaluate=0.0))
    with pytest.raises(ConfigurationError, match="in 2 different ways, want one"):
        strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=1)
    assert not any(b"FEU1" in answer for answer in grid.answered)


@pytest.mark.parametrize("said", [b"", bytes(31)])
def test_hello_without_the_runs_digest_is_not_taken(said: bytes, grid: MemoryGrid) -> None:
    def drop(message: Message) -> Message:
        message.content.config_records[carrier.RECORD]["run-config"] = said
        return message

    grid.on_reply[11] = drop
    run(grid)
    assert sum(b"FEU1" in answer for answer in grid.answered) == 2
