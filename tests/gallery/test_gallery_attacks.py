"""Who holds what, and that an attack is what its title says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gallery.attacks import ATTACKS, CLAIMED, NOISE_STDDEV, SCALE
from gallery.experiment import NAMES, Job, LocalWork, difference, manifest_rules, norm, prepare
from gallery.holdings import MINORITY_CLASSES, attackers, uneven, with_minority
from gallery.images import MADE_UP
from gallery.network import accuracy, first_model, train
from gallery.rules import COMPARED, NORM_BOUNDED, rules_of, tolerated
from gallery.settings import CLIENTS, QUICK

NAME, SEED = NAMES[4], 0
LABELS = np.random.default_rng(0).integers(0, 10, size=3000)


def test_every_row_is_held_once_and_unevenly() -> None:
    held = uneven(LABELS, CLIENTS, SEED)
    assert sorted(np.concatenate(held).tolist()) == list(range(3000))
    sizes = [len(rows) for rows in held]
    assert max(sizes) > 1.3 * min(sizes) > 0
    shares = [np.bincount(LABELS[rows], minlength=10) / len(rows) for rows in held]
    assert max(share.max() for share in shares) > 0.25


def test_minority_alone_holds_its_classes_and_no_fewer_rows() -> None:
    *majority, minority = with_minority(LABELS, CLIENTS, SEED)
    assert set(LABELS[minority].tolist()) == set(MINORITY_CLASSES)
    for rows in majority:
        assert len(rows) == len(minority)
        assert not set(LABELS[rows].tolist()) & set(MINORITY_CLASSES)
    together = np.concatenate([*majority, minority])
    assert len(np.unique(together)) == len(together)


def test_more_attackers_are_the_same_and_others() -> None:
    chosen = [set(attackers(NAMES, count, SEED)) for count in range(5)]
    assert [len(names) for names in chosen] == [0, 1, 2, 3, 4]
    assert all(fewer < more for fewer, more in pairwise(chosen))


def made(attack: str) -> tuple[dict[str, np.ndarray], int]:
    """Return what `NAME` seals in round 1 as an attacker."""
    ready = prepare(MADE_UP, QUICK, SEED, False)
    job = Job(rule="mean", seed=SEED, attack=attack, attackers=1)
    return LocalWork(ready, QUICK, job, 1).cheat(NAME, ready.first)


def honest(flipped: bool = False) -> tuple[dict[str, np.ndarray], int]:
    """Return the update that `NAME` would seal, on true labels or on 9 - y."""
    ready = prepare(MADE_UP, QUICK, SEED, False)
    rows = ready.rows[NAME]
    labels = ready.images.train_labels[rows]
    labels = 9 - labels if flipped else labels
    seeds = (SEED, 1, NAMES.index(NAME))
    trained = train(ready.first, ready.images.train_images[rows], labels, QUICK.training, seeds)
    return difference(trained, ready.first), len(rows)


def flat(update: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in update.values()])


def test_label_flip_is_honest_training_on_other_labels() -> None:
    update, examples = made("label-flip")
    expected, count = honest(flipped=True)
    np.testing.assert_array_equal(flat(update), flat(expected))
    assert examples == count
    assert not np.array_equal(flat(update), flat(honest()[0]))


def test_sign_flip_is_the_opposite_of_the_honest_update() -> None:
    np.testing.assert_array_equal(flat(made("sign-flip")[0]), -flat(honest()[0]))


def test_scaling_is_ten_label_flips() -> None:
    assert SCALE == 10
    np.testing.assert_allclose(
        flat(made("scaling")[0]), 10 * flat(honest(flipped=True)[0]), rtol=1e-6
    )


def test_noise_has_its_spread_and_nothing_of_the_update() -> None:
    noise, update = flat(made("noise")[0]), flat(honest()[0])
    assert noise.std() == pytest.approx(NOISE_STDDEV, rel=0.03)
    assert abs(noise.mean()) < 0.02
    assert abs(np.corrcoef(noise, update)[0, 1]) < 0.05


def test_nan_is_in_every_element() -> None:
    assert np.isnan(flat(made("nan")[0])).all()


@pytest.mark.parametrize("attack", ["inflated", "inflated-capped"])
def test_inflation_is_a_label_flip_that_claims_a_million(attack: str) -> None:
    update, examples = made(attack)
    np.testing.assert_array_equal(flat(update), flat(honest(flipped=True)[0]))
    assert examples == CLAIMED == 1_000_000


def test_cap_is_the_largest_honest_number_except_where_it_is_shown_without() -> None:
    ready = prepare(MADE_UP, QUICK, SEED, False)
    largest = max(len(rows) for rows in ready.rows.values())
    caps = {
        attack: manifest_rules(ready, Job(rule="mean", seed=SEED, attack=attack)).weight_cap
        for attack in ("", *ATTACKS)
    }
    assert caps.pop("inflated") == 1_000_000
    assert set(caps.values()) == {largest}


def test_only_the_norm_bounded_mean_is_bounded_and_by_the_median_honest_norm() -> None:
    ready = prepare(MADE_UP, QUICK, SEED, False)
    bounded = rules_of(NORM_BOUNDED, weight_cap=9, max_norm=ready.max_norm)
    assert (bounded.over_norm, bounded.max_norm) == ("clip", ready.max_norm)
    for name in set(COMPARED) - {NORM_BOUNDED}:
        assert rules_of(name, weight_cap=9, max_norm=1.0).max_norm == 1e6
    # Half of the ten are at or below it; this client's is near it.
    assert 0.5 < norm(honest()[0]) / ready.max_norm < 2


def test_no_rule_is_credited_with_more_than_its_authors_promise() -> None:
    assert {name: tolerated(name) for name in COMPARED} == {
        "mean": None,
        NORM_BOUNDED: None,
        "median": 4,
        "trimmed-mean": 3,
        "krum": 3,
        "multi-krum": 3,
        "bulyan": 1,
        "geometric-median": 4,
    }
    assert all(rule.least_clients() <= CLIENTS for rule in COMPARED.values())


def test_training_is_reproducible_learns_and_survives_an_absurd_model() -> None:
    ready = prepare(MADE_UP, QUICK, SEED, False)
    images, labels = ready.images.train_images, ready.images.train_labels
    before = flat(ready.first)
    one = train(ready.first, images, labels, QUICK.training, (1, 2))
    other = train(ready.first, images, labels, QUICK.training, (1, 2))
    np.testing.assert_array_equal(flat(one), flat(other))
    np.testing.assert_array_equal(flat(ready.first), before)
    assert accuracy(one, ready.images.test_images, ready.images.test_labels) > 0.3
    absurd = {name: array * np.float32(1e30) for name, array in first_model(196, 0).items()}
    assert not np.isfinite(flat(train(absurd, images, labels, QUICK.training, (0,)))).all()
    assert 0 <= accuracy(absurd, images, labels) <= 1
