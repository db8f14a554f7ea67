"""Flower's own strategies are the oracle: on random federations the enclave agrees with them.

Tolerances: Flower computes on parameters in float32, the enclave on differences in fixed point or
float64. So they may differ by a few units in the last place of a parameter.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedenclave.flower.supported import computed_for, development_rules
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import Cohort

LOSS = "train_loss"
QUICK = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEDERATIONS = st.tuples(st.integers(7, 14), st.integers(0, 2**32 - 1), st.sampled_from([1, 3000]))
Arrays = dict[str, np.ndarray]


def federation(
    clients: int, seed: int, size: int, dtype: type = np.float32
) -> tuple[Arrays, list[Arrays], list[int]]:
    """Return a first model, what each client made of it, and how many examples each had."""
    rng = np.random.default_rng(seed)
    base = {
        "w": rng.standard_normal((size, 3)).astype(dtype),
        "b": rng.standard_normal(5).astype(dtype),
    }
    scale = 10 ** rng.uniform(-4, 0)
    trained = [
        {n: (v + scale * rng.standard_normal(v.shape)).astype(dtype) for n, v in base.items()}
        for _ in range(clients)
    ]
    return base, trained, [int(n) for n in rng.integers(1, 5000, clients)]


def losses_of(weights: Sequence[int]) -> list[float]:
    return [1.0 / weight + 0.1 for weight in weights]


def record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(values) for name, values in arrays.items()})


def by_flower(
    strategy: Strategy, base: Arrays, trained: list[Arrays], weights: list[int], round_: int = 1
) -> Arrays:
    """Return what the strategy itself makes of the clients' replies."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 1
    strategy.configure_train(round_, record(base), ConfigRecord(), _NoGrid())
    replies = []
    for arrays, weight, loss in zip(trained, weights, losses_of(weights), strict=True):
        metrics = MetricRecord({"num-examples": weight, LOSS: loss})
        content = RecordDict({"arrays": record(arrays), "metrics": metrics})
        replies.append(Message(content, dst_node_id=1, message_type="train"))
    made, _ = strategy.aggregate_train(round_, replies)
    assert made is not None
    return {name: array.numpy() for name, array in made.items()}


def precise(name: str, base: Arrays, trained: list[Arrays]) -> tuple[Arrays, list[Arrays]]:
    """Return the arrays in float64 for the strategies that choose by distance.

    Flower takes differences of squared norms of whole parameters there: in float32 little of a
    small step is left, and its choice is chance.
    """
    if name not in ("Krum", "MultiKrum", "Bulyan"):
        return base, trained
    wide = [{n: v.astype(np.float64) for n, v in arrays.items()} for arrays in (base, *trained)]
    return wide[0], wide[1:]


class _NoGrid:
    """Nodes for a strategy that is asked to configure a round."""

    def get_node_ids(self) -> list[int]:
        return [1, 2, 3]


def rules_for(strategy: Strategy) -> Rules:
    return development_rules(computed_for(strategy), strategy, DEFAULT_RULES)


def by_the_enclave(
    strategy: Strategy, base: Arrays, trained: list[Arrays], weights: list[int]
) -> Arrays:
    metrics = [[loss] for loss in losses_of(weights)] if isinstance(strategy, QFedAvg) else ()
    cohort = Cohort.of(base, trained, weights, metrics=metrics)
    return cohort.released_arrays(rules_for(strategy))


def assert_close(ours: Arrays, theirs: Arrays, base: Arrays, tolerance: float) -> None:
    """Compare steps: `tolerance` of the largest step, and the rounding of parameters."""
    for name, first in base.items():
        largest = np.abs(theirs[name] - first).max()
        room = tolerance * largest + 4e-6 * max(1.0, np.abs(first).max())
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=room)


STRATEGIES = {
    "FedAvg": lambda: FedAvg(),
    "FedProx": lambda: FedProx(proximal_mu=0.1),
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.7, server_momentum=0.9),
    "FedAdagrad": lambda: FedAdagrad(eta=0.05, tau=1e-2),
    "FedAdam": lambda: FedAdam(eta=0.05, beta_1=0.9, beta_2=0.99, tau=1e-2),
    "FedYogi": lambda: FedYogi(eta=0.05, beta_1=0.9, beta_2=0.99, tau=1e-2),
    "FedMedian": lambda: FedMedian(),
    "FedTrimmedAvg": lambda: FedTrimmedAvg(beta=0.2),
    "Krum": lambda: Krum(num_malicious_nodes=2),
    "MultiKrum": lambda: MultiKrum(num_malicious_nodes=2, num_nodes_to_select=4),
    "Bulyan": lambda: Bulyan(num_malicious_nodes=1),
    "QFedAvg": lambda: QFedAvg(client_learning_rate=0.1, q=0.3),
}


@pytest.mark.parametrize("name", STRATEGIES)
@QUICK
@given(case=FEDERATIONS)
def test_the_enclave_computes_what_flower_computes(name: str, case: tuple[int, int, int]) -> None:
    # In float32 steps are so coarse that two values are often as near to the median, and Bulyan's
    # choice among them is free.
    dtype = np.float64 if name == "Bulyan" else np.float32
    base, trained, weights = federation(*case, dtype=dtype)
    theirs = by_flower(STRATEGIES[name](), *precise(name, base, trained), weights)
    ours = by_the_enclave(STRATEGIES[name](), base, trained, weights)
    assert_close(ours, theirs, base, 1e-3)


@QUICK
@given(case=FEDERATIONS)
def test_the_exact_mean_is_nearer_to_the_true_mean_than_flowers(
    case: tuple[int, int, int],
) -> None:
    base, trained, weights = federation(*case)
    theirs = by_flower(FedAvg(), base, trained, weights)
    ours = by_the_enclave(FedAvg(), base, trained, weights)
    share = np.array(weights) / sum(weights)
    for name, first in base.items():
        # What was sealed is the difference in float32; both are compared with the mean of these.
        moved = [(arrays[name] - first).astype(np.float64) for arrays in trained]
        true = first + np.tensordot(share, np.stack(moved), 1)
        ours_off, theirs_off = (np.abs(made[name] - true) for made in (ours, theirs))
        assert ours_off.sum() <= theirs_off.sum()
        half_unit = np.spacing(np.abs(true).astype(np.float32)) / 2
        assert (ours_off <= half_unit * 1.0001 + 1e-10).all()


def test_an_optimiser_remembers_from_round_to_round_as_flowers_does(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from fedenclave.simulation.federation import SimulatedFederation

    for name in ("FedAvgM", "FedAdagrad", "FedAdam", "FedYogi"):
        theirs, ours = STRATEGIES[name](), STRATEGIES[name]()
        base, _, weights = federation(4, 1, 300)
        rules = replace(rules_for(ours), min_cohort=2)
        current = base
        with SimulatedFederation.create(base, clients=4, rules=rules) as simulated:
            for round_ in range(1, 5):
                steps = [np.random.default_rng(10 * round_ + k) for k in range(4)]
                trained = [
                    {
                        n: (v + 0.1 * rng.standard_normal(v.shape)).astype(np.float32)
                        for n, v in current.items()
                    }
                    for rng in steps
                ]
                by_name = dict(
                    zip(simulated.sessions, zip(trained, weights, strict=True), strict=True)
                )
                simulated.run_round(lambda client, _, b=by_name: b[client])
                current = by_flower(theirs, current, trained, weights, round_)
                assert_close(simulated.arrays(), current, base, 1e-4)
                # Both go on from the same model: only the memory is compared.
                current = {n: np.array(v) for n, v in simulated.arrays().items()}
                theirs.current_arrays = record(current) if name == "FedAvgM" else dict(current)
