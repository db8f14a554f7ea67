"""Updates stay in the caller's memory: numpy allocates nothing of the size of a row."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from fedenclave.enclave.rules.gram import block_gram, scales, work_size
from fedenclave.enclave.rules.order_statistics import WORK_SIZE, median, nearest_mean, trimmed_mean

COLUMNS = 65_536

Call = Callable[[np.ndarray, np.ndarray], None]
OUT = np.zeros(COLUMNS)
CALLS: dict[str, Call] = {
    "median": lambda tile, work: median(tile, OUT, work),
    "trimmed mean": lambda tile, work: trimmed_mean(tile, len(tile) // 5, OUT, work),
    "nearest mean": lambda tile, work: nearest_mean(tile, len(tile) // 2, OUT, work),
    "Gram matrix": lambda tile, work: block_gram(
        tile,
        scales([0] * len(tile), [1.0] * len(tile)),
        np.zeros((len(tile), len(tile)), np.int64),
        work,
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clients", [10, 60])
def test_nothing_as_large_as_a_quarter_of_a_row_is_allocated(
    clients: int, dtype: type, call: Call
) -> None:
    tile = np.random.default_rng(0).standard_normal((clients, COLUMNS)).astype(dtype)
    work = np.zeros(max(WORK_SIZE, work_size(clients, tile.itemsize)), np.uint8)
    call(tile[:, :10].copy(), work)  # the first call makes the network
    tracemalloc.start()
    try:
        call(tile, work)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The views of rows, and two matrices of K x K, are not of the updates.
    assert peak - 24 * clients**2 < COLUMNS * tile.itemsize / 4
