"""The wrapped strategy: the model is the weighted mean, and what fails is said and survived."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian, FedProx

from fedenclave.flower import Confidential
from fedenclave.protocol.errors import ConfigurationError, RequestRefused
from tests.flower.conftest import (
    INITIAL,
    add_node_number,
    development_grid,
    initial_arrays,
    make_app,
)
from tests.flower.memory_grid import MemoryGrid

WEIGHTED = (11 * 110 + 12 * 120 + 13 * 130) / 360


def run(grid: MemoryGrid, rounds: int = 1, **options: object) -> object:
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0, **options))
    return strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=rounds)


def test_released_model_is_the_weighted_mean_of_all_tensors(grid: MemoryGrid) -> None:
    arrays = run(grid).arrays
    assert list(arrays) == list(INITIAL)
    for name, first in INITIAL.items():
        assert arrays[name].numpy().dtype == first.dtype
        assert arrays[name].numpy().shape == first.shape
        tolerance = 1e-2 if first.dtype == np.float16 else 1e-6
        np.testing.assert_allclose(arrays[name].numpy(), first + WEIGHTED, rtol=tolerance)


def test_several_rounds_build_on_each_other(grid: MemoryGrid) -> None:
    arrays = run(grid, rounds=3).arrays
    np.testing.assert_allclose(arrays["layers.0.bias"].numpy(), np.full(3, 3 * WEIGHTED), rtol=1e-6)


def test_every_client_gets_a_receipt_for_every_round(
    grid: MemoryGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    run(grid, rounds=2)
    said = capsys.readouterr().err
    assert said.count("round 1: included; receipt kept") == 3
    assert said.count("round 2: included; receipt kept") == 3


def test_development_mode_says_insecure_on_both_sides(
    grid: MemoryGrid, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("flwr").propagate = True
    with caplog.at_level(logging.INFO, logger="flwr"):
        run(grid)
    assert "insecure: round 1 is aggregated in development mode" in capsys.readouterr().err
    assert "insecure: development mode" in caplog.text


def test_proximal_strategy_passes_its_setting_to_the_clients() -> None:
    seen = []

    def look(message: Message) -> Message:
        if "config" in message.content.config_records:
            seen.append(message.content.config_records["config"]["proximal-mu"])
        return message

    grid = development_grid(make_app(add_node_number))
    grid.on_request[11] = look
    strategy = Confidential(FedProx(fraction_train=1.0, fraction_evaluate=0.0, proximal_mu=0.25))
    strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=1)
    assert seen == [0.25]


@pytest.mark.parametrize("strategy", [FedMedian, FedAdam])
def test_strategy_with_a_rule_of_its_own_is_refused_with_a_hint(strategy: type) -> None:
    with pytest.raises(ConfigurationError, match="rule of its own") as refused:
        Confidential(strategy())
    assert "FedAvg" in refused.value.hint


def test_gateway_without_certificate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without root_certificate"):
        Confidential(FedAvg(), aggregator="127.0.0.1:1")


def test_one_silent_hospital_does_not_stop_the_round(grid: MemoryGrid) -> None:
    def silent_when_training(message: Message) -> Message | None:
        return None if "fedenclave.bulk" in message.content else message

    grid.on_request[13] = silent_when_training
    bias = run(grid).arrays["layers.0.bias"].numpy()
    np.testing.assert_allclose(bias, np.full(3, (11 * 110 + 12 * 120) / 230), rtol=1e-6)


def test_one_client_with_nan_does_not_stop_the_round_and_sends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def step(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        new = add_node_number(node, arrays)
        if node == 12:
            new["layers.0.bias"][0] = np.nan
        return new

    grid = development_grid(make_app(step))
    bias = run(grid).arrays["layers.0.bias"].numpy()
    np.testing.assert_allclose(bias, np.full(3, (11 * 110 + 13 * 130) / 240), rtol=1e-6)
    assert "holds a NaN" in capsys.readouterr().err
    assert not any("NaN" in error for error in grid.errors)


def test_forged_update_is_rejected_and_the_round_goes_on(grid: MemoryGrid) -> None:
    from fedenclave.flower.carrier import BULK, bulk_record

    def forge(message: Message) -> Message:
        if not message.has_error() and BULK in message.content:
            message.content[BULK] = bulk_record(b"FEU1" + bytes(5000))
        return message

    grid.on_reply[11] = forge
    bias = run(grid).arrays["layers.0.bias"].numpy()
    np.testing.assert_allclose(bias, np.full(3, (12 * 120 + 13 * 130) / 250), rtol=1e-6)


def test_too_few_updates_keep_the_last_model_and_the_run_goes_on(grid: MemoryGrid) -> None:
    trained = []

    def silent_once(message: Message) -> Message | None:
        if "fedenclave.bulk" not in message.content:
            return message
        trained.append(1)
        return None if len(trained) <= 2 else message

    grid.on_request[12] = grid.on_request[13] = silent_once
    bias = run(grid, rounds=2).arrays["layers.0.bias"].numpy()
    # Round 1 has one update of three and is aborted; round 2 starts from the first model again.
    np.testing.assert_allclose(bias, np.full(3, WEIGHTED), rtol=1e-6)


def test_integer_tensor_is_refused_before_anything_starts(grid: MemoryGrid) -> None:
    strategy = Confidential(FedAvg(fraction_evaluate=0.0))
    counted = ArrayRecord({"counter": Array(np.zeros(3, dtype=np.int64))})
    with pytest.raises(ConfigurationError, match="counter is int64, want float32 or float16"):
        strategy.start(grid=grid, initial_arrays=counted, num_rounds=1)


def test_nan_in_the_first_model_is_refused(grid: MemoryGrid) -> None:
    strategy = Confidential(FedAvg(fraction_evaluate=0.0))
    broken = ArrayRecord({"w": Array(np.array([1.0, np.nan], dtype=np.float32))})
    with pytest.raises(RequestRefused, match="wrong-model"):
        strategy.start(grid=grid, initial_arrays=broken, num_rounds=1)


def test_evaluation_reaches_the_app_and_its_metrics_stay_with_the_client(grid: MemoryGrid) -> None:
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=1.0))
    result = strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=1)
    assert not result.evaluate_metrics_clientapp
    assert not result.train_metrics_clientapp
    assert not any(b"accuracy" in answer for answer in grid.answered)


def test_receipts_lost_on_the_way_are_brought_again(
    grid: MemoryGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def lost_once(message: Message) -> Message | None:
        record = message.content.config_records["fedenclave"]
        if record["kind"] == "train":
            trained.append(1)
        return None if len(trained) == 2 and record["kind"] == "train" else message

    grid.on_request[12] = lost_once
    run(grid, rounds=3)
    said = capsys.readouterr().err
    assert said.count("round 1: included; receipt kept") == 3
    assert said.count("round 2: included; receipt kept") == 2
    assert said.count("round 3: included; receipt kept") == 3
