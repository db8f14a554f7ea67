"""Valid receipts of an honest enclave are not said to contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.folder import contradictions
from fedenclave.audit.receipt import Verdict, verify_one_of_many
from fedenclave.audit.shared_parts import SharedParts
from tests.attacks.world import World, now


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    owners = {"a": "alpha", "b": "beta", "c": "gamma"}
    world = World(tmp_path / "host", owners, max_abs=2.0)
    yield world
    world.close()


def test_an_honest_enclave_is_accused_because_one_update_was_rejected(world: World) -> None:
    """c diverged in round 1; round 1 was released without it. Its folder says: a broken chain."""
    world.open()
    world.contribute({"a": 1, "b": 1})
    assert not world.submit("c", world.sealed("c", 100.0)).admitted
    world.release("abc")
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    shared = SharedParts(world.manifest, NO_ENDORSEMENTS)
    receipts = [verify_one_of_many(r, shared) for r in world.stores["c"].receipts.values()]
    assert [r.verdict for r in receipts] == [Verdict.REJECTED, Verdict.INCLUDED]
    assert contradictions(receipts, now=now()) == []


@pytest.mark.parametrize("end", ["aborted", "rejected"])
def test_two_ends_of_one_round_are_not_said_to_contradict_each_other(
    world: World, end: str
) -> None:
    """Each receipt holds; their logs end otherwise with one round: a fork, by 14.2 and 7.4."""
    world.open()
    world.contribute({"a": 1, "b": 1})
    if end == "aborted":
        deliveries = world.coordinator.abort()
        names = ["a", "b"]
    else:
        assert not world.submit("c", world.sealed("c", 100.0)).admitted
        _, deliveries = world.coordinator.close()
        names = ["c", "a"]
    one, other = (world.sessions[name].take_delivery(deliveries[name]) for name in names)
    assert contradictions([one, other], now=now()) == []
    # As another history of the same key would have it: one more entry before the end.
    elsewhere = replace(one.checkpoint, size=one.checkpoint.size + 1)
    assert contradictions([replace(one, checkpoint=elsewhere), other], now=now()) != []
