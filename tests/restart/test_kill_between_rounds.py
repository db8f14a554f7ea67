"""Killed while an evaluation is logged, or while it is being ended: nothing is lost or said twice.

What was told is in the log afterwards; what was not may be in it or not.
"""

from __future__ import annotations

import contextlib

import pytest

from fedenclave.audit.log import verify_log
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.signing import PublicKey
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World
from tests.restart.driver import Driver
from tests.restart.faults import Faults, Killed, bury
from tests.restart.test_kill_at_every_point import ADAM, HOW

FOUND = Digest(b"e" * 32)
POINTS = 19
"""Of an evaluation that is logged, and of a clean end after it."""


def say_and_end(world: World, told: list[bytes]) -> None:
    told.append(world.aggregator.evaluated(FOUND))
    world.aggregator.close()


def test_what_is_said_between_rounds_has_so_many_points(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world(server=ADAM)
    Driver(world).play()
    with monkeypatch.context() as patch:
        faults = Faults(patch)
        say_and_end(world, [])
    assert len(faults.points) == POINTS


@pytest.mark.parametrize("strike", range(POINTS))
def test_killed_between_two_rounds_the_next_is_the_same_and_what_was_told_is_logged(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch, strike: int
) -> None:
    world = new_world(server=ADAM)
    driver = Driver(world)
    driver.play()
    before, told = driver.model(), list[bytes]()
    pid = world.aggregator.enclave_pid
    with monkeypatch.context() as patch:
        faults = Faults(patch, strike, HOW[strike % 3])
        with contextlib.suppress(Killed):
            say_and_end(world, told)
    assert faults.dead, f"it has {len(faults.points)} points"
    bury(world.aggregator)
    world.resume()
    assert world.aggregator.enclave_pid != pid
    assert driver.model() == before
    driver.play()
    driver.check()
    key = PublicKey(world.aggregator.info()[2].signing_key)
    with (world.folder / "statements.fel").open("rb") as stream:
        log = verify_log(stream, key, world.manifest)
    said = log.rounds[0].evaluations
    assert said in ((), (FOUND,))
    assert said or not told
    assert log.shutdowns <= 1
