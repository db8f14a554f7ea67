"""The Gram matrix: near numpy's and Flower's values, and the same bits however tiles are cut."""

from fractions import Fraction

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy.multikrum import compute_distances
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.enclave.rules import gram as module
from fedenclave.enclave.rules.gram import (
    block_gram,
    distances,
    gram_floats,
    scale_bits_for,
    scales,
    work_size,
)
from fedenclave.protocol.floats import BLOCK

CLIENTS = [1, 2, 3, 4, 10, 51, 100]


def bits_of(rows: np.ndarray) -> list[int]:
    norms = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))
    return [scale_bits_for(float(norm)) for norm in norms]


def gram_of(
    rows: np.ndarray, bits: list[int], width: int = 0, factors: list[float] | None = None
) -> np.ndarray:
    clients, total = rows.shape
    scale = scales(bits, factors or [1.0] * clients)
    out = np.zeros((clients, clients), np.int64)
    work = np.zeros(work_size(clients, rows.itemsize), np.uint8)
    for start in range(0, total, width or total):
        block_gram(rows[:, start : start + (width or total)], scale, out, work)
    return out


def rows_of(clients: int, columns: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(clients).standard_normal((clients, columns)).astype(dtype)


@given(st.floats(2.0**-100, 2.0**100))
def test_the_scale_is_the_largest_that_fits(norm: float) -> None:
    assert Fraction(norm) * Fraction(2) ** scale_bits_for(norm) <= 2**25
    assert Fraction(norm) * Fraction(2) ** (scale_bits_for(norm) + 1) > 2**25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clients", CLIENTS)
def test_products_are_numpys(clients: int, dtype: type) -> None:
    rows = rows_of(clients, 3 * BLOCK + 123, dtype)
    bits = bits_of(rows)
    got = gram_floats(gram_of(rows, bits), bits)
    want = rows.astype(np.float64) @ rows.T.astype(np.float64)
    precision = 2.0**-22 if dtype is np.float32 else 2.0**-46
    assert np.abs(got - want).max() <= precision * want.max()


@pytest.mark.parametrize("clients", CLIENTS)
def test_distances_are_flowers(clients: int) -> None:
    rows = rows_of(clients, 2 * BLOCK + 1)
    bits = bits_of(rows)
    got = distances(gram_of(rows, bits), bits)
    want = compute_distances([ArrayRecord({"x": Array(r.astype(np.float64))}) for r in rows])
    assert np.allclose(got, want, rtol=1e-6, atol=1e-6 * float((rows[0] ** 2).sum()))
    assert np.array_equal(got, got.T)
    assert not np.diagonal(got).any()
    assert got.min() >= 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clients", CLIENTS)
def test_the_tiles_width_and_their_place_in_memory_change_no_bit(clients: int, dtype: type) -> None:
    rows = rows_of(clients, (18 if clients < 20 else 4) * BLOCK + 77, dtype)
    bits = bits_of(rows)
    whole = gram_of(rows, bits)
    for width in (BLOCK, 3 * BLOCK, 16 * BLOCK):
        assert np.array_equal(gram_of(rows, bits, width), whole)
    apart = np.zeros((clients, rows.shape[1] + 13), dtype)[:, 13:]
    apart[:] = rows
    assert np.array_equal(gram_of(apart, bits), whole)


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("clients", CLIENTS)
def test_how_many_blocks_are_multiplied_at_once_changes_no_bit(
    clients: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(clients, 4 * BLOCK)
    bits = bits_of(rows)
    whole = gram_of(rows, bits)
    monkeypatch.setattr(module, "_blocks_at_once", lambda clients: at_once)
    assert np.array_equal(gram_of(rows, bits), whole)


def test_one_long_update_costs_the_others_no_precision() -> None:
    rows = rows_of(5, 2 * BLOCK)
    alone = distances(gram_of(rows[:4], bits_of(rows[:4])), bits_of(rows[:4]))
    rows[4] *= np.float32(2.0**40)
    bits = bits_of(rows)
    beside = distances(gram_of(rows, bits), bits)
    assert np.allclose(beside[:4, :4], alone, rtol=1e-5)
    assert beside[4, :4].min() > 2.0**80


def test_a_factor_counts_like_a_shrunk_update() -> None:
    rows = rows_of(4, 2 * BLOCK)
    factors = [1.0, 0.25, 2.0**-20, 1.0]
    shrunk = rows * np.array(factors, np.float32)[:, None]
    bits = bits_of(shrunk)
    assert np.array_equal(gram_of(rows, bits, factors=factors), gram_of(shrunk, bits))


def test_products_at_the_bound_do_not_wrap() -> None:
    rows = np.ones((3, 8 * BLOCK), np.float32)
    rows[1] = -1
    bits = bits_of(rows)
    products = gram_of(rows, bits)
    assert np.abs(products).max() <= 2**50
    assert gram_floats(products, bits)[0].tolist() == [8 * BLOCK, -8 * BLOCK, 8 * BLOCK]
    assert distances(products, bits)[0].tolist() == [0, 4 * 8 * BLOCK, 0]


def test_equal_updates_are_at_distance_nothing_and_an_empty_one_is_fine() -> None:
    rows = rows_of(1, 5000).repeat(7, axis=0)
    rows[6] = 0
    bits = bits_of(rows)
    found = distances(gram_of(rows, bits), bits)
    square = float((rows[0].astype(np.float64) ** 2).sum())
    assert found[:6, :6].max() <= 2.0**-20 * square
    assert np.allclose(found[6, :6], square, rtol=1e-6)
    assert bits[6] == 0


def test_a_thousand_clients_do_not_wrap() -> None:
    rows = rows_of(1000, BLOCK + 3)
    bits = bits_of(rows)
    want = rows.astype(np.float64) @ rows.T.astype(np.float64)
    assert np.abs(gram_floats(gram_of(rows, bits), bits) - want).max() <= 2.0**-20 * want.max()
