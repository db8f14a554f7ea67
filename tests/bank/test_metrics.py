"""The figures, against values worked out by hand or pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bank.metrics import (
    auc,
    brier,
    calibration_error,
    found_in_riskiest,
    log_loss,
    probabilities,
    reliability,
)

SCORED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(SCORED)
def test_auc_counts_pairs_and_ties_by_half(scored: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in scored], dtype=np.float64)
    labels = np.array([bad for _, bad in scored], dtype=np.float32)
    pairs = [
        1.0 if bad > good else 0.5 if bad == good else 0.0
        for bad in scores[labels == 1]
        for good in scores[labels == 0]
    ]
    found = auc(scores, labels)
    if pairs:
        assert found == pytest.approx(np.mean(pairs))
    else:
        assert found is None


def test_auc_of_known_scores() -> None:
    labels = np.array([0, 0, 1, 1], np.float32)
    # The example of scikit-learn's roc_auc_score.
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), labels) == 0.75


def test_losses_of_known_predictions() -> None:
    labels = np.array([1, 0], np.float32)
    assert brier(np.array([0.8, 0.4]), labels) == pytest.approx((0.04 + 0.16) / 2)
    logits = np.log(np.array([0.8 / 0.2, 0.4 / 0.6]))
    assert log_loss(logits, labels) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert probabilities(logits) == pytest.approx([0.8, 0.4])
    assert np.isfinite(log_loss(np.array([1e6, -1e6]), labels))


def test_a_forecaster_who_is_right_in_every_bin_has_no_calibration_error() -> None:
    predicted = np.repeat([0.1, 0.3], 100)
    labels = np.zeros(200, np.float32)
    labels[:10], labels[100:130] = 1, 1
    assert calibration_error(reliability(predicted, labels, bins=2)) == pytest.approx(0)
    late = calibration_error(reliability(predicted + 0.2, labels, bins=2))
    assert late == pytest.approx(0.2)


@given(st.integers(1, 300), st.integers(0, 1000))
def test_bins_hold_every_loan_once_in_order_of_prediction(loans: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    predicted = draw.uniform(size=loans)
    labels = (draw.uniform(size=loans) < predicted).astype(np.float32)
    bins = reliability(predicted, labels)
    sizes = [one.loans for one in bins]
    assert sum(sizes) == loans
    assert max(sizes) - min(sizes) <= 1
    assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)
    assert sum(one.loans * one.bad for one in bins) == pytest.approx(labels.sum())


def test_bad_loans_in_the_riskiest_tenth_are_counted() -> None:
    labels = np.zeros(20, np.float32)
    labels[[0, 1, 5, 9]] = 1
    scores = -np.arange(20.0)
    assert found_in_riskiest(scores, labels) == 0.5
    assert found_in_riskiest(-scores, labels) == 0
