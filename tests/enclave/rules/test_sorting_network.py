"""Networks put the wanted ranks in place. By the 0-1 principle it is enough that they sort bits."""

import numpy as np
import pytest

from fedenclave.enclave.rules.sorting_network import network, place


@pytest.mark.parametrize("rows", range(1, 13))
def test_every_wanted_rank_is_in_place_for_all_columns_of_bits(rows: int) -> None:
    bits = (np.arange(2**rows)[None, :] >> np.arange(rows)[:, None]) & 1
    want = np.sort(bits, axis=0)
    for first in range(rows):
        for last in range(first, rows):
            views = list(bits.astype(np.int8))
            place(views, network(rows, first, last), np.empty(2**rows, np.int8))
            for rank in range(first, last + 1):
                assert np.array_equal(views[rank], want[rank])


@pytest.mark.parametrize("rows", [17, 31, 32, 33, 40, 64])
def test_larger_networks_sort_and_keep_every_value(rows: int) -> None:
    values = np.random.default_rng(rows).integers(0, 30, (rows, 2000))
    views = list(values.copy())
    place(views, network(rows, 0, rows - 1), np.empty(2000, values.dtype))
    assert np.array_equal(views, np.sort(values, axis=0))


def test_the_median_takes_fewer_comparators_than_sorting() -> None:
    def calls(rows: int, first: int, last: int) -> int:
        return sum(c.smaller + c.larger for c in network(rows, first, last))

    assert [calls(10, 4, 5), calls(10, 0, 9)] == [46, 64]
    assert calls(40, 19, 20) < 0.8 * calls(40, 0, 39)
