"""What the rules do with clipped updates, integers, ties and large rosters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedenclave.enclave import norms, tile
from fedenclave.enclave.aggregation import Aggregation
from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.optimiser_state import OptimiserState
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.protocol import aggregation as rules
from fedenclave.protocol.errors import Reason, UpdateRejected
from fedenclave.protocol.floats import MAX_COUNT
from fedenclave.protocol.manifest import MAX_CLIENTS
from fedenclave.protocol.tensors import CHUNK_SIZE, schema_of
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import Cohort, _workers, memory_file

RNG = np.random.default_rng(3)
BASE = {"w": RNG.standard_normal(5000).astype(np.float32), "n": np.array([100, 200], np.int64)}
STEPS = [RNG.standard_normal(5000).astype(np.float32) for _ in range(7)]
TRAINED = [
    {"w": (BASE["w"] + step).astype(np.float32), "n": BASE["n"] + k} for k, step in enumerate(STEPS)
]
SHRINK = [1.0, 0.5, 1.0, 0.25, 1.0, 0.125, 1.0]


def rules_of(rule: rules.Rule) -> object:
    return replace(DEFAULT_RULES, rule=rule)


def released(rule: rules.Rule, **more: object) -> dict[str, np.ndarray]:
    cohort = Cohort.of(BASE, TRAINED, [1] * 7, **more)
    return cohort.released_arrays(rules_of(rule))


def moved() -> np.ndarray:
    return np.stack([arrays["w"] - BASE["w"] for arrays in TRAINED]).astype(np.float64)


def test_a_median_is_of_updates_as_they_are_clipped_and_of_integers_as_they_are() -> None:
    got = released(rules.Median(), shrink=SHRINK)
    clipped = np.median(moved() * np.array(SHRINK)[:, None], axis=0)
    np.testing.assert_allclose(got["w"] - BASE["w"], clipped, atol=1e-6)
    assert got["n"].tolist() == [103, 203]


def test_a_mean_clips_no_integer() -> None:
    got = released(rules.MEAN, shrink=SHRINK)
    clipped = np.mean(moved() * np.array(SHRINK)[:, None], axis=0)
    np.testing.assert_allclose(got["w"] - BASE["w"], clipped, atol=1e-6)
    assert got["n"].tolist() == [103, 203]


def test_krum_compares_updates_as_they_are_clipped() -> None:
    # Update 5 is a giant until it is clipped to next to nothing, where the small ones are.
    steps = [1e-3 * step for step in STEPS]
    steps[5] = 0.0008 * STEPS[5] * 1e5
    trained = [{"w": (BASE["w"] + s).astype(np.float32), "n": BASE["n"]} for s in steps]
    shrink = [1.0] * 5 + [1e-5, 1.0]
    cohort = Cohort.of(BASE, trained, [1] * 7, shrink=shrink)
    got = cohort.released_arrays(rules_of(rules.Krum(byzantine=1)))["w"]
    largest = np.abs(got - BASE["w"]).max()
    assert 1e-5 < largest < 6e-3
    # Nearest to zero, so it has the least distances to all others.
    np.testing.assert_allclose(got - BASE["w"], 0.0008 * STEPS[5], atol=2e-6)


def test_counters_have_no_part_in_distances() -> None:
    far = [
        {**arrays, "n": arrays["n"] + (10**6 if k == 2 else 0)} for k, arrays in enumerate(TRAINED)
    ]
    steps = moved()
    steps[2] *= 0.1
    far[2]["w"] = (BASE["w"] + steps[2]).astype(np.float32)
    cohort = Cohort.of(BASE, far, [1] * 7)
    got = cohort.released_arrays(rules_of(rules.Krum(byzantine=1)))
    np.testing.assert_allclose(got["w"], far[2]["w"], atol=1e-6)
    assert got["n"].tolist() == far[2]["n"].tolist()


def test_of_equal_scores_the_lower_name_wins_whoever_came_first() -> None:
    # Two pairs as far from each other as from nobody else: all four scores tie.
    step = np.zeros(5000, np.float32)
    step[0] = 1.0
    trained = [{"w": BASE["w"] + sign * step, "n": BASE["n"]} for sign in (1, 1, 1, -1, -1, -1)]
    cohort = Cohort.of(BASE, trained, [1] * 6, names=list("fedcba"))
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 5, 0, 3, 1, 4]):
        payload = cohort.released(rules_of(rules.Krum(byzantine=0)), order=order)
        first = np.frombuffer(payload, np.float32, 1)[0]
        assert first == BASE["w"][0] - 1  # a, b and c said minus


@pytest.mark.parametrize("value", [MAX_COUNT + 1, -MAX_COUNT - 1, 2**62])
def test_an_integer_that_moves_too_far_is_rejected(value: int) -> None:
    norms.judge_counts(np.array([MAX_COUNT, -MAX_COUNT], np.float64))
    with pytest.raises(UpdateRejected) as rejected:
        norms.judge_counts(np.array([0, value, 3], np.float64))
    assert rejected.value.reason is Reason.OVER_MAX_ABS


def test_the_largest_roster_is_combined_in_a_tile_of_bounded_size() -> None:
    assert tile.tile_size(10, blocks=False) == 10 * CHUNK_SIZE
    assert tile.tile_size(200, blocks=False) == 16 << 20
    assert tile.tile_size(MAX_CLIENTS, blocks=False) == 64 << 20
    assert tile.tile_size(rules.MAX_PAIRWISE_CLIENTS, blocks=True) == 32 << 20


def test_narrow_runs_of_columns_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = released(rules.Median())["w"]
    monkeypatch.setattr(tile, "_SIZE", 7 * 8 * 100)
    monkeypatch.setattr(tile, "_FEWEST_COLUMNS", 100)
    # A tile that a test before has taken is larger, and not given back.
    for scratch in _workers(2)._scratch:
        monkeypatch.setattr(scratch, "tile", np.zeros(7 * 8 * 100, np.uint8))
    assert released(rules.Median())["w"].tobytes() == agreed.tobytes()


def test_every_pass_seals_the_optimisers_memory_under_nonces_of_its_own() -> None:
    schema = schema_of({"w": BASE["w"]})
    state = OptimiserState(rules.Momentum(learning_rate=1.0, momentum=0.9), schema)
    sealed = []
    for _ in range(3):  # a pass that begins again, in one round and with nothing released
        file = memory_file()
        state.use(None, file)
        state.begin_pass()
        state.step(0, np.ones(5000))
        sealed.append(file.read(4 * 5000, 0))
        file.close()
    assert len(set(sealed)) == 3


def test_a_protection_that_is_lost_is_said_once() -> None:
    hardening = Hardening(protections=["secret-memory"])
    hardening.lose("secret-memory", "gone")
    hardening.lose("secret-memory", "gone")
    assert (hardening.protections, hardening.warnings) == ([], ["gone"])


def test_only_rules_that_need_one_take_a_tile() -> None:
    workers = _workers(1)
    for scratch in workers._scratch:
        scratch.tile = np.zeros(0, np.uint8)
    Aggregation(schema_of({"w": BASE["w"]}), DEFAULT_RULES, workers, SecretMemory(), 7)
    assert all(len(scratch.tile) == 0 for scratch in workers._scratch)
