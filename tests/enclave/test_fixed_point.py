"""The exact sum: no order and no number of clients changes a bit, and nothing overflows."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.enclave.fixed_point import add, factors, scale_bits, settle, shares, unscale
from fedenclave.protocol.manifest import MAX_ABS_LIMIT, MAX_CLIENTS, MAX_WEIGHT_CAP, MIN_BOUND

BOUNDS = st.floats(MIN_BOUND, MAX_ABS_LIMIT)


def mean_of(
    rows: list[np.ndarray], weights: list[int], max_abs: float, shrink: list[float] | None = None
) -> np.ndarray:
    """Return the weighted mean as the enclave computes it, as float64."""
    bits = scale_bits(max_abs)
    total = np.zeros(len(rows[0]), np.int64)
    work = np.zeros(len(rows[0]), np.float64)
    parts = [s * c for s, c in zip(shares(weights), shrink or [1.0] * len(rows), strict=True)]
    for row, factor in zip(rows, factors(parts, bits), strict=True):
        add(total, row, factor, work)
    settle(total, len(rows))
    unscale(total, bits, work)
    return work.copy()


@given(BOUNDS)
def test_the_scale_is_the_largest_that_fits(max_abs: float) -> None:
    bits = scale_bits(max_abs)
    assert Fraction(max_abs) * Fraction(2) ** bits <= 2**50
    assert Fraction(max_abs) * Fraction(2) ** (bits + 1) > 2**50


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), BOUNDS)
def test_any_order_gives_the_same_bits(seed: int, clients: int, max_abs: float) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.uniform(-1, 1, 50).astype(np.float32) * np.float32(max_abs) for _ in range(clients)]
    rows = [np.clip(row, -np.float32(max_abs) * 0.999, np.float32(max_abs) * 0.999) for row in rows]
    weights = [int(w) for w in rng.integers(1, 1000, clients)]
    first = mean_of(rows, weights, max_abs)
    order = rng.permutation(clients)
    second = mean_of([rows[i] for i in order], [weights[i] for i in order], max_abs)
    assert first.tobytes() == second.tobytes()


@given(st.data())
def test_the_mean_is_exact_to_half_a_step_for_each_client(data: st.DataObject) -> None:
    max_abs = data.draw(st.sampled_from([MIN_BOUND, 0.1, 1.0, 1000.0, MAX_ABS_LIMIT]))
    clients = data.draw(st.integers(1, 12))
    inside = st.floats(-1, 1, width=32).map(lambda x: np.float32(x * max_abs * 0.999))
    rows = [
        np.array(data.draw(st.lists(inside, min_size=3, max_size=3)), np.float32)
        for _ in range(clients)
    ]
    weights = data.draw(
        st.lists(st.integers(1, MAX_WEIGHT_CAP), min_size=clients, max_size=clients)
    )
    got = mean_of(rows, weights, max_abs)
    step = Fraction(2) ** -scale_bits(max_abs)
    for i in range(3):
        pairs = zip(rows, weights, strict=True)
        exact = sum(Fraction(float(r[i])) * w for r, w in pairs) / sum(weights)
        # Half a step each from rounding the term, and as much again from the factor's last bit.
        assert abs(Fraction(float(got[i])) - exact) <= step * clients


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_as_float32_the_mean_is_within_half_a_unit_in_the_last_place(
    seed: int, clients: int
) -> None:
    """For values of ordinary size: within 2**-20 of the bound the step is finer than float32."""
    rng = np.random.default_rng(seed)
    rows = [rng.uniform(0.25, 1, 40).astype(np.float32) for _ in range(clients)]
    weights = [int(w) for w in rng.integers(1, 10**6, clients)]
    got = mean_of(rows, weights, 1.0).astype(np.float32)
    for i in range(40):
        pairs = zip(rows, weights, strict=True)
        exact = sum(Fraction(float(r[i])) * w for r, w in pairs) / sum(weights)
        half = Fraction(float(np.spacing(got[i]))) / 2
        # Above the half by what the steps may turn a near tie.
        assert abs(Fraction(float(got[i])) - exact) <= half + clients * Fraction(1, 2**50)


@pytest.mark.parametrize("max_abs", [MIN_BOUND, 1.0, 3.0, 1000.0, MAX_ABS_LIMIT])
@pytest.mark.parametrize("weight", [1, MAX_WEIGHT_CAP])
@pytest.mark.parametrize("sign", [1, -1])
def test_all_clients_at_the_bound_reach_it_exactly(max_abs: float, weight: int, sign: int) -> None:
    rows = [np.full(3, sign * max_abs, np.float32)] * MAX_CLIENTS
    got = mean_of(rows, [weight] * MAX_CLIENTS, max_abs)
    assert (got == sign * np.float64(np.float32(max_abs))).all()


def test_one_heavy_and_many_light_clients_at_the_bound_do_not_overflow() -> None:
    rows = [np.full(2, 1000.0, np.float32)] * MAX_CLIENTS
    weights = [MAX_WEIGHT_CAP, *([1] * (MAX_CLIENTS - 1))]
    got = mean_of(rows, weights, 1000.0)
    assert got == pytest.approx([1000.0, 1000.0], rel=1e-9)


def test_what_was_added_can_be_left_out_without_a_trace() -> None:
    rows = [np.array([0.1, -0.7, 1e-30], np.float32), np.array([0.3, 0.2, -1e-30], np.float32)]
    opposite = [-rows[0], -rows[1]]
    both = mean_of([*rows, *opposite], [1, 1, 1, 1], 1.0)
    assert (both == 0).all()


def test_clipping_multiplies_one_clients_share() -> None:
    rows = [np.full(2, 1.0, np.float32), np.full(2, 0.5, np.float32)]
    assert (mean_of(rows, [1, 1], 1.0, [0.5, 1.0]) == 0.5).all()
