"""The geometric median's coefficients, beside the same algorithm on the vectors themselves."""

import math

import numpy as np
import pytest

from fedenclave.enclave.rules.geometric_median import coefficients


def on_vectors(
    rows: np.ndarray, weights: list[float], iterations: int, smoothing: float, tolerance: float
) -> np.ndarray:
    """Return the smoothed Weiszfeld algorithm's point, as the paper has it."""
    shares = np.array(weights) / sum(weights)
    point = shares @ rows
    objective = shares @ np.linalg.norm(rows - point, axis=1)
    for _ in range(iterations):
        betas = shares / np.maximum(smoothing, np.linalg.norm(rows - point, axis=1))
        point = betas @ rows / betas.sum()
        before, objective = objective, shares @ np.linalg.norm(rows - point, axis=1)
        if abs(before - objective) <= tolerance * objective:
            break
    return point


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 10, 51, 100])
@pytest.mark.parametrize("iterations", [1, 4, 100])
def test_the_point_is_that_of_the_vectors(clients: int, iterations: int) -> None:
    rng = np.random.default_rng(clients)
    rows = rng.standard_normal((clients, 60)) * rng.uniform(0.1, 10, (clients, 1))
    weights = rng.integers(1, 1000, clients).tolist()
    found = coefficients(rows @ rows.T, weights, iterations, 1e-5, 1e-6)
    want = on_vectors(rows, weights, iterations, 1e-5, 1e-6)
    # At a point that is an update the distance is the root of a rounding error.
    assert np.allclose(np.array(found) @ rows, want, rtol=0, atol=1e-6)
    assert math.fsum(found) == pytest.approx(1, abs=1e-14)
    assert min(found) >= 0


def test_it_is_the_least_sum_of_distances() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((15, 8))
    weights = rng.integers(1, 10, 15).tolist()
    point = np.array(coefficients(rows @ rows.T, weights, 1000, 1e-9, 0.0)) @ rows

    def cost(at: np.ndarray) -> float:
        return float(weights @ np.linalg.norm(rows - at, axis=1))

    for _ in range(200):
        assert cost(point) <= cost(point + 1e-3 * rng.standard_normal(8))


def test_a_far_liar_moves_it_little() -> None:
    rows = np.random.default_rng(4).standard_normal((9, 20))
    honest = rows[:8].mean(axis=0)
    rows[8] = 1e6
    point = np.array(coefficients(rows @ rows.T, [1] * 9, 100, 1e-6, 1e-9)) @ rows
    assert np.linalg.norm(point - honest) < 3
    assert np.linalg.norm(rows.mean(axis=0) - honest) > 1e5


def test_the_order_of_the_updates_changes_no_bit() -> None:
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((30, 50)) * np.exp(rng.uniform(-10, 10, (30, 1)))
    gram = rows @ rows.T
    gram = (gram + gram.T) / 2
    weights = rng.integers(1, 1000, 30).tolist()
    order = rng.permutation(30)
    found = coefficients(gram, weights, 20, 1e-5, 1e-6)
    other = coefficients(gram[np.ix_(order, order)], [weights[i] for i in order], 20, 1e-5, 1e-6)
    assert other == [found[i] for i in order]


def test_equal_and_empty_updates_have_their_weights() -> None:
    for gram in (np.zeros((4, 4)), np.full((4, 4), 9.0)):
        assert coefficients(gram, [1, 1, 2, 4], 10, 1e-5, 1e-6) == [0.125, 0.125, 0.25, 0.5]


def test_a_thousand_updates_are_within_a_second() -> None:
    rows = np.random.default_rng(7).standard_normal((1000, 20))
    found = coefficients(rows @ rows.T, [1] * 1000, 4, 1e-5, 1e-6)
    assert np.allclose(np.array(found) @ rows, on_vectors(rows, [1] * 1000, 4, 1e-5, 1e-6))
