"""T9: robust rules keep the model from a poisoner, and no rule is computed on too few updates."""

from __future__ import annotations

import math

import pytest

from fedenclave.attack_suite.world import payload_of
from fedenclave.protocol import aggregation as rules
from fedenclave.protocol.errors import Reason, Refusal, RequestRefused
from tests.attacks.conftest import NewWorld
from tests.attacks.world import value_of

SEVEN = {name: name for name in "abcdefg"}
HONEST = dict(zip("bcdefg", (0.9, 0.95, 1.0, 1.05, 1.1, 1.15), strict=True))
ROBUST = [
    rules.Median(),
    rules.TrimmedMean(trim=0.2),
    rules.Krum(byzantine=1),
    rules.MultiKrum(byzantine=1, selected=3),
    rules.Bulyan(byzantine=1),
    rules.GeometricMedian(iterations=100, smoothing=1e-6, tolerance=1e-12),
]


@pytest.mark.parametrize("rule", ROBUST, ids=lambda rule: rule.RULE)
def test_one_member_with_a_huge_update_does_not_move_a_robust_rule(
    new_world: NewWorld, rule: rules.Rule
) -> None:
    # Weighted, whoever claims more examples than all others is the geometric median.
    world = new_world(owners=SEVEN, rule=rule, weighting="uniform")
    world.open()
    assert world.submit("a", world.forge("a", payload_of(-900), num_examples=10**6)).admitted
    world.contribute(HONEST)
    world.release("bcdefg")
    assert 0.5 + 0.89 <= value_of(world.model()) <= 0.5 + 1.16


def test_the_mean_is_moved_by_the_same_member(new_world: NewWorld) -> None:
    world = new_world(owners=SEVEN)
    world.open()
    world.submit("a", world.forge("a", payload_of(-900)))
    world.contribute(HONEST)
    world.release("bcdefg")
    assert value_of(world.model()) < -100


def test_a_rule_is_not_computed_on_fewer_updates_than_it_needs(new_world: NewWorld) -> None:
    world = new_world(owners=SEVEN, rule=rules.Krum(byzantine=2))
    world.open()
    world.contribute({name: HONEST[name] for name in "bcdefg"})
    before = world.status()
    with pytest.raises(RequestRefused) as refused:
        world.coordinator.close()
    assert refused.value.refusal is Refusal.COHORT_TOO_SMALL
    assert world.status() == before
    world.contribute({"a": 1.0})
    release, _ = world.release("abcdefg")
    assert release.clients == 7
    assert value_of(world.model()) == 1.5  # two of seven said 1, and Krum chose one of them


def test_multi_krum_choosing_one_organisations_clients_only_releases_nothing(
    new_world: NewWorld,
) -> None:
    owners = {**dict.fromkeys("abc", "sybils"), "d": "d", "e": "e", "f": "f"}
    world = new_world(owners=owners, rule=rules.MultiKrum(byzantine=1, selected=3))
    world.open()
    world.contribute({"a": 1.0, "b": 1.0, "c": 1.0, "d": 3.0, "e": -3.0, "f": 5.0})
    with pytest.raises(RequestRefused) as refused:
        world.coordinator.close()
    assert refused.value.refusal is Refusal.COHORT_TOO_SMALL


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, -0.5])
def test_a_loss_that_is_none_is_rejected(new_world: NewWorld, loss: float) -> None:
    rule = rules.QFedAvg(q=1.0, client_learning_rate=0.1, loss="loss")
    world = new_world(rule=rule, weighting="uniform")
    world.open()
    before = world.status()
    result = world.aggregator.submit([world.forge("a", payload_of(1), metrics=[loss])])
    assert (result.admitted, result.reason) == (False, Reason.BAD_METRIC.value)
    assert world.status().admitted == before.admitted


def test_a_loss_that_is_one_is_admitted(new_world: NewWorld) -> None:
    rule = rules.QFedAvg(q=1.0, client_learning_rate=0.1, loss="loss")
    world = new_world(rule=rule, weighting="uniform")
    world.open()
    for name, loss in (("a", 0.0), ("b", 2.5)):
        assert world.submit(name, world.sealed(name, 1.0, loss=loss)).admitted
    assert world.release("ab")[0].clients == 2


def test_an_update_without_the_metrics_that_the_manifest_asks_for_is_rejected(
    new_world: NewWorld,
) -> None:
    world = new_world(metrics=("accuracy",))
    world.open()
    result = world.aggregator.submit([world.forge("a", payload_of(1))])
    assert (result.admitted, result.reason) == (False, Reason.WRONG_LENGTH.value)


def test_released_metrics_are_weighted_and_capped_as_the_updates_are(new_world: NewWorld) -> None:
    world = new_world(metrics=("accuracy", "loss"), weight_cap=3)
    world.open()
    world.submit("a", world.forge("a", payload_of(1), num_examples=10**9, metrics=[1.0, 2.0]))
    world.submit("b", world.sealed("b", 1.0, accuracy=0.2, loss=6.0, secret=7.0))
    release, _ = world.release("b")
    assert {m.name: m.value for m in release.metrics} == {
        "accuracy": pytest.approx((3 * 1.0 + 0.2) / 4, abs=1e-15),
        "loss": pytest.approx((3 * 2.0 + 6.0) / 4, abs=1e-15),
    }
