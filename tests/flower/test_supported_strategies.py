"""Which of Flower's strategies the enclave computes, and what stands beside one it does not."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedXgbBagging,
    FedXgbCyclic,
    QFedAvg,
    Strategy,
)

from fedenclave.flower import Confidential
from fedenclave.flower.supported import (
    check_agreed,
    computed_for,
    computed_together,
    development_rules,
)
from fedenclave.protocol import aggregation as rules_of
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.flower.conftest import run
from tests.flower.memory_grid import MemoryGrid

NO_STRATEGIES = ("Result", "Strategy")


class OwnAggregation(FedMedian):
    """What a user may write, and the enclave cannot know."""

    def aggregate_train(self, server_round: int, replies: object) -> object:
        return None, None


class OwnMoments(FedAdam):
    """Changes a part of what it inherits."""

    def _compute_deltat_and_mt(self, aggregated: object) -> object:
        return super()._compute_deltat_and_mt(aggregated)


class OwnChoice(FedAdam):
    """Changes who trains and with what, and nothing of what is aggregated."""

    def configure_train(self, *arguments: object) -> object:
        return super().configure_train(*arguments)


def with_its_own(strategy: Strategy, name: str) -> Strategy:
    setattr(strategy, name, lambda *_: (None, None))
    return strategy


def test_a_strategy_that_only_chooses_otherwise_is_computed() -> None:
    assert computed_for(OwnChoice()) == computed_for(FedAdam())


@pytest.mark.parametrize(
    "strategy", [FedMedian(), QFedAvg(client_learning_rate=0.1), FedXgbBagging()]
)
def test_a_rule_beside_a_strategy_that_stands_for_another_is_refused(strategy: Strategy) -> None:
    for rule in (rules_of.OwnRule(name="mine"), rules_of.Bulyan(byzantine=1)):
        with pytest.raises(ConfigurationError):
            Confidential(strategy, rules=replace(DEFAULT_RULES, rule=rule))
    with pytest.raises(ConfigurationError, match="stands for rule mean with optimiser adam"):
        Confidential(
            FedAdam(),
            rules=replace(DEFAULT_RULES, server=rules_of.Momentum(learning_rate=1.0, momentum=0.5)),
        )


def test_what_the_strategy_does_not_stand_for_the_rules_beside_it_say() -> None:
    adam = computed_for(FedAdam(eta=0.5)).server
    bulyan = rules_of.Bulyan(byzantine=1)
    for strategy, rule, server in (
        (FedAdam(eta=0.5), rules_of.OwnRule(name="mine"), rules_of.NO_OPTIMISER),
        (FedAdam(eta=0.5), bulyan, rules_of.NO_OPTIMISER),
        (FedAdam(eta=0.5), bulyan, adam),
        (FedAvg(), bulyan, adam),
        (flower.Bulyan(num_malicious_nodes=1), rules_of.MEAN, adam),
        (FedProx(), rules_of.GeometricMedian(iterations=9, smoothing=1e-6, tolerance=0.0), adam),
    ):
        given = replace(DEFAULT_RULES, rule=rule, server=server)
        computed = computed_together(strategy, given)
        assert computed.server == adam
        assert computed.rule == (bulyan if isinstance(strategy, flower.Bulyan) else rule)
        made = development_rules(computed, strategy, given)
        assert (made.rule, made.server) == (computed.rule, adam)


def test_a_function_that_is_never_called_is_said_to_be_so(
    grid: MemoryGrid, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("flwr").propagate = True
    with caplog.at_level(logging.INFO, logger="flwr"):
        run(grid)
        assert "is not called" not in caplog.text
        strategy = FedAvg(fraction_evaluate=0.0, train_metrics_aggr_fn=lambda records, key: None)
        Confidential(strategy).summary()
    assert "train_metrics_aggr_fn is not called" in caplog.text


def test_a_strategy_that_weighs_by_another_metric_than_the_rules_is_refused() -> None:
    strategy = FedAvg(weighted_by_key="n")
    with pytest.raises(ConfigurationError, match="weighs by 'n', and the rules by 'num-examples'"):
        Confidential(strategy, rules=DEFAULT_RULES)
    with pytest.raises(ConfigurationError, match="weighs by 'n'"):
        check_agreed(computed_for(strategy), DEFAULT_RULES, strategy)
    Confidential(strategy)


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (OwnAggregation(), "computes a rule of its own"),
        (FedXgbBagging(), "sends trees"),
        (FedXgbCyclic(), "sends trees"),
        (DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, 3), "adds noise"),
        (with_its_own(FedAvg(), "aggregate_train"), "computes a rule of its own"),
        (OwnMoments(), "computes a rule of its own"),
        (Bulyan(selection_rule=lambda contents, f, n: contents), "selection rule of its own"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_strategy_that_the_enclave_does_not_compute_is_refused(
    strategy: Strategy, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why) as refused:
        Confidential(strategy)
    assert refused.value.hint


def test_every_strategy_of_flowers_is_computed_or_refused_with_a_reason() -> None:
    made = {name: getattr(flower, name) for name in flower.__all__ if name not in NO_STRATEGIES}
    computed = set()
    for name, kind in made.items():
        needed = {"client_learning_rate": 0.1} if name == "QFedAvg" else {}
        if name.startswith("FedXgb"):
            with pytest.raises(ConfigurationError, match="trees"):
                computed_for(kind(**needed))
        elif not name.startswith("DifferentialPrivacy"):
            computed_for(kind(**needed))
            computed.add(name)
    assert computed == {
        "Bulyan", "FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedMedian", "FedProx",
        "FedTrimmedAvg", "FedYogi", "Krum", "MultiKrum", "QFedAvg",
    }  # fmt: skip


def test_a_strategy_that_stands_for_another_rule_than_the_manifests_is_refused() -> None:
    agreed = replace(DEFAULT_RULES, rule=rules_of.Median())
    with pytest.raises(ConfigurationError, match="stands for rule mean, and the members") as found:
        check_agreed(computed_for(FedAvg()), agreed, FedAvg())
    assert "manifest" in found.value.hint
    check_agreed(computed_for(FedMedian()), agreed, FedMedian())
