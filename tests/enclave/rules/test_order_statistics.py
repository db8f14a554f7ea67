"""Median, trimmed mean and nearest mean: numpy's and Flower's values, whatever the rows' order."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from hypothesis import given, settings
from hypothesis import strategies as st

from fedenclave.enclave.rules import order_statistics
from fedenclave.enclave.rules.order_statistics import WORK_SIZE, median, nearest_mean, trimmed_mean

WORK = np.zeros(WORK_SIZE, np.uint8)
CLIENTS = [1, 2, 3, 4, 10, 51, 56, 57, 100]
DTYPES = [np.float32, np.float64]

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
RULES: dict[str, Rule] = {
    "median": median,
    "trimmed mean": lambda tile, out, work: trimmed_mean(tile, len(tile) // 5, out, work),
    "nearest mean": lambda tile, out, work: nearest_mean(tile, (len(tile) + 1) // 2, out, work),
}


def result(rule: Rule, tile: np.ndarray, stride: int = 0) -> np.ndarray:
    """Return what `rule` makes of a copy of `tile`; its rows lie `stride` values further apart."""
    clients, columns = tile.shape
    mine = np.empty((clients, columns + stride), tile.dtype)[:, :columns]
    mine[:] = tile
    out = np.full(columns, np.nan)
    rule(mine, out, WORK)
    return out


def tile_of(clients: int, columns: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((clients, columns)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clients", CLIENTS)
def test_the_median_is_numpys_in_float64(clients: int, dtype: type) -> None:
    tile = tile_of(clients, 700, dtype)
    assert np.array_equal(result(median, tile), np.median(tile.astype(np.float64), axis=0))


@pytest.mark.parametrize("trim", [0.0, 0.1, 0.2, 0.4999])
@pytest.mark.parametrize("clients", CLIENTS)
def test_the_trimmed_mean_is_flowers(clients: int, trim: float) -> None:
    tile = tile_of(clients, 700)
    got = result(lambda t, out, work: trimmed_mean(t, int(trim * clients), out, work), tile)
    assert np.allclose(got, trim_mean(tile.astype(np.float64), trim), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_the_nearest_mean_is_flowers(clients: int, share: float) -> None:
    tile = tile_of(clients, 700)
    beta = max(1, int(share * clients))
    got = result(lambda t, out, work: nearest_mean(t, beta, out, work), tile)
    wide = np.sort(tile.astype(np.float64), axis=0)  # sorted: Flower leaves ties to the order
    if beta == clients or (beta % 2 == clients % 2) or clients % 2:
        (want,) = aggregate_n_closest_weights([np.median(wide, axis=0)], [[r] for r in wide], beta)
        assert np.allclose(got, want, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("clients", [2, 4, 10, 51, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_one_distance_from_the_median_count_from_below(clients: int, dtype: type) -> None:
    tile = np.arange(clients, dtype=dtype)[:, None].repeat(20, axis=1)
    for beta in range(1, clients + 1):
        got = result(lambda t, out, work, b=beta: nearest_mean(t, b, out, work), tile[::-1])
        ordered = sorted(range(clients), key=lambda x: (abs(2 * x - (clients - 1)), x))
        assert np.array_equal(got, np.full(20, sum(ordered[:beta]) / beta))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("clients", CLIENTS)
def test_the_order_of_the_rows_changes_no_bit(clients: int, rule: Rule) -> None:
    # Few different values, so that there are ties; zeros of both signs; a range where sums round.
    rng = np.random.default_rng(clients)
    values = np.array([-0.0, 0.0, 1e-30, 1.0, -1.0, 1e8, 3e-5, -7e20, 7e20], np.float32)
    tile = rng.choice(values, (clients, 300))
    tile[:, :100] = rng.standard_normal((clients, 100)) * np.exp(
        rng.uniform(-30, 30, (clients, 100))
    )
    first = result(rule, tile)
    for _ in range(4):
        assert result(rule, tile[rng.permutation(clients)]).tobytes() == first.tobytes()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("clients", CLIENTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_the_tiles_width_nor_the_distance_of_rows_changes_a_bit(
    clients: int, rule: Rule, dtype: type
) -> None:
    columns = 9000
    tile = tile_of(clients, columns, dtype)
    whole = result(rule, tile)
    assert result(rule, tile, stride=7).tobytes() == whole.tobytes()
    for width in (1, 17, 256, 4096):
        start = columns - 5 * width if width < 1000 else 0
        parts = [result(rule, tile[:, i : i + width]) for i in range(start, columns, width)]
        assert np.concatenate(parts).tobytes() == whole[start:].tobytes()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("clients", [1, 10, 51])
def test_how_many_columns_are_ordered_at_once_changes_no_bit(
    clients: int, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = tile_of(clients, 4000)
    whole = result(rule, tile)
    for size in (2**12, 2**16):
        monkeypatch.setattr(order_statistics, "_BLOCK_SIZE", size)
        assert result(rule, tile).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("clients", [1, 10])
def test_tiles_wider_than_the_scratch_are_ordered_in_parts(clients: int, rule: Rule) -> None:
    tile = tile_of(clients, 70_000, np.float64)
    parts = [result(rule, tile[:, i : i + 25_000]) for i in range(0, 70_000, 25_000)]
    assert result(rule, tile).tobytes() == np.concatenate(parts).tobytes()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("clients", [10, 33, 51])
def test_a_network_and_a_sort_of_columns_give_the_same_bits(
    clients: int, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = tile_of(clients, 5000)
    found = []
    for limit in (0, 64):
        monkeypatch.setattr(order_statistics, "_MOST_ROWS_BY_NETWORK", limit)
        found.append(result(rule, tile).tobytes())
    assert found[0] == found[1]


@given(st.integers(1, 9), st.data())
@settings(deadline=None)
def test_results_are_near_the_exact_ones_at_any_magnitude(
    clients: int, data: st.DataObject
) -> None:
    number = st.floats(-(2.0**100), 2.0**100, width=32)
    column = data.draw(st.lists(number, min_size=clients, max_size=clients))
    tile = np.array(column, np.float32)[:, None]
    exact = sorted(Fraction(x) for x in column)
    middle = (exact[(clients - 1) // 2] + exact[clients // 2]) / 2
    assert result(median, tile)[0] == float(middle)
    for cut in range((clients + 1) // 2):
        left = exact[cut : clients - cut]
        got = result(lambda t, out, work, c=cut: trimmed_mean(t, c, out, work), tile)[0]
        allowed = sum(map(abs, left)) / 2**49 + Fraction(1, 2**1000)
        assert abs(Fraction(float(got)) - sum(left) / len(left)) <= allowed


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_zero_comes_out_negative(rule: Rule) -> None:
    for clients in (1, 2, 3, 51):
        tile = np.full((clients, 5), -0.0, np.float32)
        assert not np.signbit(result(rule, tile)).any()


def test_a_thousand_clients_are_ordered() -> None:
    tile = tile_of(1000, 700)
    wide = np.sort(tile.astype(np.float64), axis=0)
    assert np.array_equal(result(median, tile), np.median(wide, axis=0))
    got = result(RULES["trimmed mean"], tile)
    assert np.allclose(got, wide[200:800].mean(axis=0), rtol=1e-12, atol=1e-15)
    (want,) = aggregate_n_closest_weights([np.median(wide, axis=0)], [[r] for r in wide], 500)
    assert np.allclose(result(RULES["nearest mean"], tile), want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_most_clients_fit_the_scratch(dtype: type) -> None:
    tile = tile_of(order_statistics.MAX_ROWS, 20, dtype)
    assert np.array_equal(result(median, tile), np.median(tile.astype(np.float64), axis=0))
    with pytest.raises(ValueError, match="8193 rows, want 1 to 8192"):
        result(median, np.zeros((order_statistics.MAX_ROWS + 1, 1), np.float32))


def test_what_leaves_nothing_to_average_is_refused() -> None:
    tile = tile_of(4, 3)
    for cut in (-1, 2):
        with pytest.raises(ValueError, match="cut is"):
            result(lambda t, out, work, c=cut: trimmed_mean(t, c, out, work), tile)
    for beta in (0, 5):
        with pytest.raises(ValueError, match="beta is"):
            result(lambda t, out, work, b=beta: nearest_mean(t, b, out, work), tile)
