"""Krum's, Multi-Krum's and Bulyan's choice is Flower's."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.serverapp.strategy.multikrum import compute_distances, select_multikrum

from fedenclave.enclave.rules.selection import bulyan_selection, krum_scores, select


def contents_of(rows: np.ndarray) -> list[RecordDict]:
    return [RecordDict({"arrays": ArrayRecord({"x": Array(row)})}) for row in rows]


def chosen_by_flower(rows: np.ndarray, byzantine: int, count: int) -> list[int]:
    chosen = select_multikrum(contents_of(rows), byzantine, count)
    values = [record["arrays"]["x"].numpy() for record in chosen]  # type: ignore[index]
    return [int(np.flatnonzero((rows == value).all(axis=1))[0]) for value in values]


def distances_of(rows: np.ndarray) -> np.ndarray:
    return np.abs(compute_distances([ArrayRecord({"x": Array(row)}) for row in rows]))


@pytest.mark.parametrize("clients", [4, 10, 51, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_selection_is_flowers(clients: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((clients, 40))
    # Where one neighbour alone counted, two updates would be each other's, and their scores equal.
    for byzantine in {0, (clients - 3) // 4, (clients - 3) // 2}:
        scores = krum_scores(distances_of(rows), byzantine)
        for count in {1, clients // 2, clients}:
            assert select(scores, count) == chosen_by_flower(rows, byzantine, count)


@pytest.mark.parametrize("byzantine", [0, 1, 3, 12])
def test_bulyan_keeps_what_flowers_multi_krum_keeps(byzantine: int) -> None:
    rows = np.random.default_rng(byzantine).standard_normal((51, 40))
    chosen, beta = bulyan_selection(distances_of(rows), byzantine)
    assert chosen == chosen_by_flower(rows, byzantine, 51 - 2 * byzantine)
    assert beta == 51 - 4 * byzantine


def test_the_liars_are_left_out() -> None:
    rows = np.random.default_rng(5).standard_normal((20, 30))
    rows[[3, 8, 13]] += 50
    assert {3, 8, 13}.isdisjoint(select(krum_scores(distances_of(rows), 3), 17))


def test_the_order_of_the_updates_changes_no_bit_of_a_score() -> None:
    rng = np.random.default_rng(2)
    found = distances_of(rng.standard_normal((30, 10)) * np.exp(rng.uniform(-20, 20, (30, 1))))
    order = rng.permutation(30)
    scores = krum_scores(found, 4)
    assert krum_scores(found[np.ix_(order, order)], 4) == [scores[i] for i in order]


def test_of_equal_scores_the_lower_index_comes_first() -> None:
    assert select([2.0, 1.0, 2.0, 1.0, 0.5], 4) == [4, 1, 3, 0]
    assert select(krum_scores(np.zeros((6, 6)), 1), 3) == [0, 1, 2]


def test_one_and_two_updates_have_scores() -> None:
    assert krum_scores(np.zeros((1, 1)), 0) == [0.0]
    assert krum_scores(np.array([[0.0, 4.0], [4.0, 0.0]]), 0) == [4.0, 4.0]


def test_too_few_updates_are_refused() -> None:
    with pytest.raises(ValueError, match="6 updates, want 7 or more"):
        bulyan_selection(np.zeros((6, 6)), 1)
    for count in (0, 3):
        with pytest.raises(ValueError, match="want 1 to 2"):
            select([1.0, 2.0], count)
