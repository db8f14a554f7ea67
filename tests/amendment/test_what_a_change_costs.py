"""T11: a change of the manifest costs no honest client its receipts, or the newest model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.client.session import ClientSession
from tests.amendment.world import ChangingWorld

ABC = {"a": "alpha", "b": "beta", "c": "gamma"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChangingWorld]:
    world = ChangingWorld(tmp_path / "host", ABC)
    yield world
    world.close()


def test_a_model_released_under_the_next_manifest_is_taken_by_who_has_approved_it(
    world: ChangingWorld,
) -> None:
    """To evaluate it, or with its last receipts. Flower asks a part of the clients in each round.

    A client folder goes by the manifest in force until a round is offered under the next, which
    its owner has approved; the next is there among those that the session knows.
    """
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    world.close()
    before, approvals = world.manifest, world.approvals
    world.amend(world.draft(ABC))
    world.open(["a", "b"])
    world.contribute({"a": 1, "b": 1})
    world.release("ab")
    session = ClientSession(
        manifest=before,
        approvals=approvals,
        name="c",
        key=world.keys["c"],
        store=world.stores["c"],
        former=[(world.manifest, tuple(world.approvals))],
    )
    model = session.accept_released_model(world.coordinator.chain(), world.aggregator.model())
    assert model.digest() == world.model().digest()


def test_the_receipts_of_a_release_are_made_after_a_change_and_a_restart(
    world: ChangingWorld,
) -> None:
    """The ServerApp has ended before it could deliver; no round was open when anything ended.

    So it is without the change, or without the restart behind it.
    """
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.coordinator.close()
    world.close()
    world.amend(world.draft(ABC))
    world.restart()
    for deliveries in world.coordinator.deliveries_before():
        world.sessions["a"].take_delivery(deliveries["a"])
    assert world.sessions["a"].state.pending == ()
