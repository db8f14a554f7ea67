"""T5: two releases on one base model, subtracted, show what the difference between them sent."""

from __future__ import annotations

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.world import World
from fedenclave.protocol.errors import Refusal

_NOTHING = 0.0
"""A step of zeros leaves the model as it was: the next round is on the same base."""


def _close_refused(world: World, witness: Witness, tried: str) -> None:
    witness.refused(tried, world.coordinator.close, Refusal.DIFFERENCING)


@attack("T05-one-organisation-less", "release on one base again, with one organisation less")
def one_organisation_less(world: World, witness: Witness) -> None:
    """The first release is of three, the second would be of two of them."""
    first, _ = world.round_of("abc", _NOTHING)
    if first.model != first.base_model:
        raise RuntimeError("the first round changed the model, so there is nothing to subtract")
    world.open()
    world.contribute("ab")
    _close_refused(world, witness, "close without c's update")
    world.contribute("c")
    second, _ = world.close_round()
    witness.control(
        "close with the same cohort again, which is allowed",
        f"the release says {second.organisations} organisations",
        well=second.organisations == first.organisations,
    )


@attack("T05-one-organisation-more", "release on one base again, with one organisation more")
def one_organisation_more(world: World, witness: Witness) -> None:
    """The other way round: c joins for the second release."""
    world.round_of("ab", _NOTHING)
    world.open()
    world.contribute("abc")
    _close_refused(world, witness, "close with c's update too")
    world.coordinator.abort()
    world.round_of("ab")
    witness.goes_on(world)


@attack(
    "T05-one-client-exchanged",
    "release on one base again, without one client of an organisation",
    clients=("a1", "b1", "b2"),
    owners={"a1": "alpha", "b1": "beta", "b2": "beta"},
)
def one_client_exchanged(world: World, witness: Witness) -> None:
    """Both releases have the same organisations, and the difference is one client's update."""
    world.round_of(["a1", "b1", "b2"], _NOTHING)
    world.open()
    world.contribute(["a1", "b1"])
    _close_refused(world, witness, "close without beta's second client")


ATTACKS = (one_organisation_less, one_organisation_more, one_client_exchanged)
