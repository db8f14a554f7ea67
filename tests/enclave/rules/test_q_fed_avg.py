"""q-FedAvg's coefficients give Flower's model, and their sum is at most 1."""

import math

import numpy as np
import pytest
from flwr.serverapp.strategy.qfedavg import compute_delta_and_h
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.enclave.rules.q_fed_avg import coefficients


def by_flower(
    base: np.ndarray, rows: np.ndarray, losses: list[float], q: float, rate: float
) -> np.ndarray:
    pairs = [
        compute_delta_and_h([base], [row.copy()], q, 1.0 / rate, loss)
        for row, loss in zip(rows, losses, strict=True)
    ]
    return base - sum(delta[0] for delta, _ in pairs) / sum(h for _, h in pairs)


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 10, 51, 100])
@pytest.mark.parametrize("q", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("rate", [0.001, 0.1, 10.0])
def test_the_model_is_flowers(clients: int, q: float, rate: float) -> None:
    rng = np.random.default_rng(clients)
    base = rng.standard_normal(50)
    rows = base + 0.1 * rng.standard_normal((clients, 50))
    losses = rng.exponential(2, clients).tolist()
    losses[0] = 0.0
    squares = ((rows - base) ** 2).sum(axis=1).tolist()
    found = coefficients(squares, losses, q, rate)
    got = base + np.array(found) @ (rows - base)
    assert np.allclose(got, by_flower(base, rows, losses, q, rate), rtol=1e-12, atol=1e-12)


@given(
    st.lists(st.tuples(st.floats(0, 1e60), st.floats(0, 1e300)), min_size=1, max_size=20),
    st.floats(0, 100),
    st.floats(1e-9, 1e3),
)
def test_the_sum_is_at_most_one(clients: list[tuple[float, float]], q: float, rate: float) -> None:
    found = coefficients([s for s, _ in clients], [f for _, f in clients], q, rate)
    assert math.fsum(found) <= 1 + 1e-14
    assert min(found) >= 0
    assert all(map(math.isfinite, found))


def test_q_of_zero_is_the_unweighted_mean() -> None:
    assert coefficients([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 5.0, 2.0], 0.0, 0.1) == [0.25] * 4


def test_the_order_of_the_updates_changes_no_bit() -> None:
    rng = np.random.default_rng(1)
    squares, losses = rng.exponential(1, 40).tolist(), rng.exponential(1, 40).tolist()
    order = rng.permutation(40)
    found = coefficients(squares, losses, 1.5, 0.1)
    other = coefficients([squares[i] for i in order], [losses[i] for i in order], 1.5, 0.1)
    assert other == [found[i] for i in order]


@pytest.mark.parametrize("loss", [-1.0, math.nan, math.inf])
def test_a_loss_that_is_none_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="loss is"):
        coefficients([1.0, 1.0], [1.0, loss], 1.0, 0.1)
