"""Clients that cheat in a simulation: sealed without a check, judged by the enclave, counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from fedenclave.protocol.errors import Reason, Refusal, RequestRefused
from fedenclave.simulation.federation import (
    DEFAULT_RULES,
    Arrays,
    CheatFn,
    SimulatedFederation,
)

CLIENTS = ("client-0", "client-1", "client-2")


@pytest.fixture
def federation() -> Iterator[SimulatedFederation]:
    rules = replace(DEFAULT_RULES, weight_cap=2, max_abs=100.0)
    first = {"w": np.zeros(10, np.float32)}
    with SimulatedFederation.create(first, clients=CLIENTS, rules=rules) as made:
        yield made


def one_step(name: str, arrays: Arrays) -> tuple[Arrays, int]:
    return {"w": arrays["w"] + np.float32(1)}, 1


def sends(value: float, examples: int = 1) -> CheatFn:
    return lambda name, arrays: ({"w": np.full_like(arrays["w"], value)}, examples)


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        (sends(float("nan")), Reason.NOT_FINITE),
        (sends(float("-inf")), Reason.NOT_FINITE),
        (sends(101.0), Reason.OVER_MAX_ABS),
        (sends(1.0, examples=0), Reason.BAD_NUM_EXAMPLES),
    ],
)
def test_what_the_enclave_rejects_is_named_and_changes_nothing(
    federation: SimulatedFederation, cheat: CheatFn, reason: Reason
) -> None:
    outcome = federation.run_round(one_step, cheats={"client-1": cheat})
    assert outcome.rejections == {"client-1": reason}
    assert outcome.refusals == {}
    assert set(outcome.receipts) == {"client-0", "client-2"}
    np.testing.assert_array_equal(federation.arrays()["w"], np.ones(10, np.float32))


def test_cheat_seals_the_update_itself_and_counts_up_to_the_cap(
    federation: SimulatedFederation,
) -> None:
    federation.run_round(one_step)
    outcome = federation.run_round(one_step, cheats={"client-1": sends(-3.0, examples=2**64 - 1)})
    assert outcome.rejections == {}
    # From 1: honest steps of 1 count once each, the cheat's -3 twice and not 2^64 times.
    np.testing.assert_array_equal(federation.arrays()["w"], np.zeros(10, np.float32))


def test_honest_client_holds_back_what_a_cheat_would_send(federation: SimulatedFederation) -> None:
    def diverged(name: str, arrays: Arrays) -> tuple[Arrays, int]:
        step = np.float32("nan" if name == "client-2" else 1)
        return {"w": arrays["w"] + step}, 1

    outcome = federation.run_round(diverged)
    assert set(outcome.refusals) == {"client-2"}
    assert outcome.rejections == {}


def test_round_below_the_cohort_can_be_aborted_and_the_next_is_released(
    federation: SimulatedFederation,
) -> None:
    nan = sends(float("nan"))
    outcome = federation.collect(one_step, cheats={"client-0": nan, "client-1": nan})
    with pytest.raises(RequestRefused) as refused:
        federation.release(outcome)
    assert refused.value.refusal is Refusal.COHORT_TOO_SMALL
    federation.abort(outcome)
    assert outcome.receipts["client-2"].model is None
    np.testing.assert_array_equal(federation.arrays()["w"], np.zeros(10, np.float32))
    assert set(federation.run_round(one_step).receipts) == set(CLIENTS)
    np.testing.assert_array_equal(federation.arrays()["w"], np.ones(10, np.float32))
