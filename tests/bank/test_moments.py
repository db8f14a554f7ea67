"""Preprocessing through the enclave: what comes back is what all loans in one place would give."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

from bank.columns import BOUND, FEATURES
from bank.data import pool, prepared
from bank.federation import weighted_mean
from bank.moments import (
    LEAST_WIDTH,
    MomentsRefused,
    are_there,
    moments_of,
    no_moments,
    scale_of,
    standardised,
)
from bank.parameters import NAMES, Parameters, initial, read_parameters, write_parameters
from bank.training import Steps, local_round
from fedenclave.demo.bank import RULES
from fedenclave.simulation.federation import Arrays, SimulatedFederation
from tests.bank.made_up import federation

STEPS = Steps(updates=5, batch_size=16, learning_rate=0.01)
BANKS = {rows.name: prepared(rows) for rows in federation()}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(0, 10_000))
def test_weighted_means_of_moments_are_the_moments_of_all_loans(
    sizes: list[int], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    parts = [draw.uniform(-BOUND, BOUND, (size, len(FEATURES))) for size in sizes]
    updates = []
    for part in parts:
        mean, square = moments_of(part)
        updates.append(dataclasses.replace(initial(), mean=mean, square=square))
    together = weighted_mean(updates, sizes)
    mean, square = moments_of(np.concatenate(parts))
    np.testing.assert_allclose(together.mean, mean, atol=1e-12)
    np.testing.assert_allclose(together.square, square, atol=1e-12)


def test_moments_come_through_a_real_enclave_and_stay_while_the_model_is_trained() -> None:
    first: Arrays = dict(zip(NAMES, initial().arrays(), strict=True))
    rules = dataclasses.replace(RULES, min_cohort=3, metrics=())
    together = pool(list(BANKS.values())).train.features

    def answer(name: str, arrays: Arrays) -> tuple[Arrays, int]:
        came = Parameters.of([arrays[key] for key in NAMES])
        new = local_round(came, BANKS[name], STEPS, seed=1)
        return dict(zip(NAMES, new.arrays(), strict=True)), len(BANKS[name].train.labels)

    with SimulatedFederation.create(first, clients=list(BANKS), rules=rules) as enclave:
        released = []
        for _ in range(2):
            assert len(enclave.run_round(answer).receipts) == len(BANKS)
            arrays = enclave.arrays()
            released.append(Parameters.of([arrays[key].copy() for key in NAMES]))
    mean, square = moments_of(together)
    for model in released:
        np.testing.assert_allclose(model.mean, mean, atol=1e-12)
        np.testing.assert_allclose(model.square, square, atol=1e-12)
    prepared_here = ((together - together.mean(axis=0)) / together.std(axis=0)).astype(np.float32)
    np.testing.assert_allclose(
        standardised(together, released[0].mean, released[0].square), prepared_here, atol=1e-5
    )
    assert not released[0].weight.any()
    assert released[1].weight.any()


def test_a_bank_tells_its_moments_to_a_model_without_and_to_no_other() -> None:
    bank = BANKS["north"]
    told = local_round(initial(), bank, STEPS, seed=0)
    assert not initial().prepared
    assert told.prepared
    assert np.array_equal(told.weight, initial().weight)
    others = dataclasses.replace(told, mean=told.mean / 2, square=told.square)
    later = local_round(others, bank, STEPS, seed=0)
    assert np.array_equal(later.mean, others.mean)
    assert np.array_equal(later.square, others.square)


def test_a_rare_feature_keeps_its_width() -> None:
    # Mean 0.005, squares 0.025: float32 would lose what is left of the difference bit by bit.
    features = np.zeros((1000, len(FEATURES)))
    features[0] = BOUND
    mean, width = scale_of(*moments_of(features))
    np.testing.assert_allclose(width, features.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(mean, features.mean(axis=0))


def test_a_feature_that_never_changes_is_not_blown_up() -> None:
    features = np.full((10, len(FEATURES)), 2.0)
    assert (
        standardised(features, *moments_of(features)).tolist() == np.zeros_like(features).tolist()
    )
    assert scale_of(*moments_of(features))[1].tolist() == [LEAST_WIDTH] * len(FEATURES)


@pytest.mark.parametrize(("mean", "square"), [(2, 1), (np.nan, 1), (0, np.inf), (0, 26), (0, -1)])
def test_moments_that_no_loans_can_have_are_refused(mean: float, square: float) -> None:
    means, squares = np.zeros(len(FEATURES)), np.ones(len(FEATURES))
    means[3], squares[3] = mean, square
    with pytest.raises(MomentsRefused):
        scale_of(means, squares)


def test_no_moments_are_told_from_any() -> None:
    assert not are_there(no_moments()[1])
    assert are_there(moments_of(BANKS["north"].train.features)[1])


def test_parameters_of_another_shape_or_type_are_refused() -> None:
    arrays = initial().arrays()
    for place in range(len(arrays)):
        for wrong in (arrays[place][..., :-1], arrays[place].astype(np.float16)):
            with pytest.raises(ValueError, match=NAMES[place]):
                Parameters.of([*arrays[:place], wrong, *arrays[place + 1 :]])
    with pytest.raises(ValueError, match="shorter"):
        Parameters.of(arrays[:-1])


def test_parameters_read_back_as_they_were_written(tmp_path: Path) -> None:
    told = local_round(initial(), BANKS["west"], STEPS, seed=0)
    path = tmp_path / "models" / "one.npz"
    write_parameters(told, path)
    for ours, theirs in zip(read_parameters(path).arrays(), told.arrays(), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
