"""The host and its enclave are killed at every write and between every two frames.

After a restart in the same folder the round is released with every update that was admitted, once,
and with the same bits as if nothing had happened.
"""

from __future__ import annotations

import contextlib

import pytest

from fedenclave.protocol.aggregation import Adam
from tests.attacks.conftest import NewWorld
from tests.restart.driver import Driver
from tests.restart.faults import CALLS, Faults, Killed, bury

ADAM = Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
HOW = ("before", "half", "after")
POINTS = 82
"""Of a round with three clients and a server optimiser."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Return the models of two rounds without any fault."""
    from tests.attacks.world import World

    world = World(tmp_path_factory.mktemp("undisturbed"), server=ADAM)
    driver, models = Driver(world), []
    try:
        for _ in range(2):
            driver.play()
            models.append(driver.model())
        driver.check()
    finally:
        world.close()
    return models[0], models[1]


def points_of_a_round(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    world = new_world(server=ADAM)
    driver = Driver(world)
    driver.play()
    with monkeypatch.context() as patch:
        faults = Faults(patch)
        driver.play()
    return faults.points


def test_a_round_has_points_of_every_kind(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = points_of_a_round(new_world, monkeypatch)
    assert len(points) == POINTS
    assert set(points) == {*CALLS, "_send", "_receive"}
    # Seven and three have no common divisor: what is killed at every seventh point is killed
    # before, half way through and after.
    assert {HOW[strike % 3] for strike in range(3, POINTS, 7)} == set(HOW)


@pytest.mark.parametrize("strike", range(3, POINTS, 7))
def test_killed_at_some_points_the_round_is_released_once_with_the_same_bits(
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[bytes, bytes],
    strike: int,
) -> None:
    killed_at(new_world, monkeypatch, undisturbed, strike)


@pytest.mark.slow
@pytest.mark.parametrize("strike", range(POINTS))
def test_killed_at_any_point_the_round_is_released_once_with_the_same_bits(
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[bytes, bytes],
    strike: int,
) -> None:
    killed_at(new_world, monkeypatch, undisturbed, strike)


def killed_at(
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[bytes, bytes],
    strike: int,
) -> None:
    world = new_world(server=ADAM)
    driver = Driver(world)
    driver.play()
    assert driver.model() == undisturbed[0]
    with monkeypatch.context() as patch:
        faults = Faults(patch, strike, HOW[strike % 3])
        with contextlib.suppress(Killed):
            driver.play()
    assert faults.dead, f"a round has {len(faults.points)} points"
    bury(world.aggregator)
    world.resume()
    driver.play()
    assert driver.model() == undisturbed[1]
    driver.check()
