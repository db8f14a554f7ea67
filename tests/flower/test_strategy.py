"""The wrapped strategy: the model is the weighted mean, and what fails is said and survived."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import (
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    Strategy,
)

from fedenclave.flower import Confidential
from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol import aggregation as rules_of
from fedenclave.protocol.errors import ConfigurationError, Refusal, RequestRefused
from fedenclave.protocol.evaluation import evaluation_digest
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Evaluation, Release
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.flower.conftest import (
    INITIAL,
    add_node_number,
    development_grid,
    initial_arrays,
    make_app,
    run,
)
from tests.flower.memory_grid import MemoryGrid

LOSS = 30 / 360  # each node reports the inverse of its number, and weighs ten times it
MOMENTUM = rules_of.Momentum(learning_rate=1.0, momentum=0.5)
WEIGHTED = (11 * 110 + 12 * 120 + 13 * 130) / 360


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


def test_the_geometric_median_runs_through_flower(grid: MemoryGrid) -> None:
    rule = rules_of.GeometricMedian(iterations=100, smoothing=1e-9, tolerance=0.0)
    rules = replace(DEFAULT_RULES, min_cohort=2, rule=rule, weighting="uniform")
    strategy = Confidential(FedAvg(fraction_evaluate=0.0), rules=rules)
    arrays = strategy.start(grid, initial_arrays(), num_rounds=1).arrays
    # On a line the geometric median is the median: of 11, 12 and 13.
    np.testing.assert_allclose(arrays["layers.0.bias"].numpy(), np.full(3, 12.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("strategy", "moved"),
    [
        (FedMedian(fraction_evaluate=0.0), 12.0),
        (FedAvgM(fraction_evaluate=0.0, server_learning_rate=0.5), 0.5 * WEIGHTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_robust_strategies_and_optimisers_run_through_flower(
    grid: MemoryGrid, strategy: Strategy, moved: float
) -> None:
    arrays = Confidential(strategy).start(grid, initial_arrays(), num_rounds=1).arrays
    np.testing.assert_allclose(arrays["layers.0.bias"].numpy(), np.full(3, moved), rtol=1e-6)


def test_a_released_metric_is_the_weighted_mean_and_no_other_leaves(grid: MemoryGrid) -> None:
    rules = replace(DEFAULT_RULES, min_cohort=2, metrics=("loss",))
    strategy = Confidential(FedAvg(fraction_evaluate=0.0), rules=rules)
    result = strategy.start(grid, initial_arrays(), num_rounds=1)
    assert dict(result.train_metrics_clientapp[1]) == {"loss": pytest.approx(LOSS)}
    assert not any(b"accuracy" in answer for answer in grid.answered)


def test_a_client_without_the_metric_that_the_rules_ask_for_sends_nothing(
    grid: MemoryGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = replace(DEFAULT_RULES, min_cohort=2, metrics=("never-reported",))
    strategy = Confidential(FedAvg(fraction_evaluate=0.0), rules=rules)
    strategy.start(grid, initial_arrays(), num_rounds=1)
    assert "never-reported" in capsys.readouterr().err
    assert not any(b"never-reported" in error.encode() for error in grid.errors)


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


def test_a_tensor_of_no_number_is_refused_before_anything_starts(grid: MemoryGrid) -> None:
    strategy = Confidential(FedAvg(fraction_evaluate=0.0))
    counted = ArrayRecord({"mask": Array(np.zeros(3, dtype=np.bool_))})
    with pytest.raises(ConfigurationError, match="mask is bool, want one of float32, float16"):
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


def test_a_round_that_the_aggregator_has_aborted_itself_is_told_and_the_next_goes_on(
    grid: MemoryGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a restart on a machine that keeps no open round."""
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0))
    aborted = []

    def restart(reply: Message) -> Message:
        if "fedenclave.bulk" in reply.content.array_records and not aborted:
            assert strategy._aggregator is not None
            aborted.append(strategy._aggregator.abort_round())
        return reply

    grid.on_reply[13] = restart
    result = strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=2)
    said = capsys.readouterr().err
    assert said.count("round 1: left out; receipt kept") == 3
    assert said.count("round 2: included; receipt kept") == 3
    assert result.arrays


def test_a_client_whose_update_is_lost_on_the_way_gets_a_receipt_of_that(
    grid: MemoryGrid, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = []

    def lose(reply: Message) -> Message | None:
        if "fedenclave.bulk" in reply.content.array_records and not lost:
            lost.append(reply)
            return None
        return reply

    grid.on_reply[13] = lose
    run(grid, rounds=2)
    said = capsys.readouterr().err
    assert said.count("round 1: left out; receipt kept") == 1
    assert said.count("round 1: included; receipt kept") == 2
    assert said.count("round 2: included; receipt kept") == 3


def test_a_client_that_sends_no_update_is_not_asked_again_for_that_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if node == 13:
            raise RuntimeError("no data today")
        return add_node_number(node, arrays)

    grid = development_grid(make_app(fail))
    run(grid, rounds=1)
    # The last round's receipts, each with a message of its own, for those that have sealed.
    assert capsys.readouterr().err.count("receipt kept") == 2
    assert len(grid.errors) == 1


def test_what_the_serverapp_finds_after_a_round_is_logged_by_its_digest(
    grid: MemoryGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = []
    close = Aggregator.close

    def keep_log(aggregator: Aggregator) -> None:
        logs.extend(map(Signed.from_bytes, aggregator._statements.statements()))
        close(aggregator)

    monkeypatch.setattr(Aggregator, "close", keep_log)
    found = {0: {"loss": 9.0}, 1: {"loss": 0.5, "hits": [1, 2]}, 2: None}
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0))

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        metrics = found[server_round]
        return None if metrics is None else MetricRecord(metrics)

    result = strategy.start(grid, initial_arrays(), num_rounds=2, evaluate_fn=evaluate)
    assert dict(result.evaluate_metrics_serverapp[1]) == found[1]
    (logged,) = [each for each in logs if each.type == "evaluation"]
    evaluation = Evaluation.from_bytes(logged.payload)
    assert evaluation.round == 1
    assert evaluation.digest == evaluation_digest({"hits": [1, 2], "loss": 0.5})
    release = next(each for each in logs if each.type == "release")
    assert evaluation.model == Release.from_bytes(release.payload).model


def test_an_evaluation_that_cannot_be_logged_stops_no_run(
    grid: MemoryGrid, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(aggregator: Aggregator, digest: bytes) -> bytes:
        raise RequestRefused(Refusal.WRONG_STATE)

    monkeypatch.setattr(Aggregator, "evaluated", refuse)
    logging.getLogger("flwr").propagate = True
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0))
    answers = {0: MetricRecord(), 1: MetricRecord({"loss": 1.0}), 2: {"loss": None}}
    with caplog.at_level(logging.WARNING, logger="flwr"):
        strategy.start(
            grid, initial_arrays(), num_rounds=2, evaluate_fn=lambda number, _: answers[number]
        )
    said = [line for line in caplog.messages if "is not in the enclave's log" in line]
    assert len(said) == 2
    assert "'loss' is NoneType" in said[1]


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
