"""T4: in a cohort of one, or of clients that are all one organisation's, the mean is the secret."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.world import World, now
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG

_TWO_OF_ALPHA = {"a1": "alpha", "a2": "alpha", "b1": "beta"}


def _open_refused(
    world: World, witness: Witness, tried: str, cohort: Sequence[str], by: Refusal
) -> None:
    witness.refused(
        f"open a round for {tried}",
        lambda: world.aggregator.open_round(cohort, NO_TRAINING_CONFIG),
        by,
    )


@attack(
    "T04-small-cohort",
    "open a round for one client, or for two of one organisation",
    clients=tuple(_TWO_OF_ALPHA),
    owners=_TWO_OF_ALPHA,
)
def small_cohort(world: World, witness: Witness) -> None:
    """`min_cohort` counts organisations, not clients."""
    small = Refusal.COHORT_TOO_SMALL
    _open_refused(world, witness, "nobody", [], small)
    _open_refused(world, witness, "one client", ["a1"], small)
    _open_refused(world, witness, "two clients of one organisation", ["a1", "a2"], small)
    witness.goes_on(world)


@attack(
    "T04-few-updates",
    "open a round for all, and close it with the updates of one organisation",
    clients=tuple(_TWO_OF_ALPHA),
    owners=_TWO_OF_ALPHA,
)
def few_updates(world: World, witness: Witness) -> None:
    """The announced cohort is large; the host holds back everybody else's updates."""
    world.open()
    world.contribute(["a1"])
    witness.refused("close with one update", world.coordinator.close, Refusal.COHORT_TOO_SMALL)
    world.contribute(["a2"])
    witness.refused(
        "close with two updates of one organisation",
        world.coordinator.close,
        Refusal.COHORT_TOO_SMALL,
    )
    world.contribute(["b1"])
    release, deliveries = world.close_round()
    world.take(["a1", "a2", "b1"], deliveries)
    witness.control(
        "close with the updates of two organisations, which is allowed",
        f"the release says {release.organisations} organisations",
        well=release.organisations == world.manifest.rules.min_cohort,
    )


@attack("T04-sybils", "fill the cohort up with clients that nobody approved")
def sybils(world: World, witness: Witness) -> None:
    """Names that are not on the roster, and one name several times."""
    unknown = Refusal.UNKNOWN_CLIENT
    for cohort in (["a", "b", "b"], ["a", "b", "sybil"], ["a", "b", ""], ["a", "a"]):
        _open_refused(world, witness, repr(cohort), cohort, unknown)
    witness.goes_on(world)


@attack("T04-enclave-announces-a-small-cohort", "have an enclave with a hole announce the cohort")
def enclave_announces_a_small_cohort(world: World, witness: Witness) -> None:
    """The client counts for itself, in case the enclave's own check has a defect."""
    for cohort, says in (
        (("a",), "has 1 organisations"),
        (("b", "c"), "does not hold this client"),
        ((), "does not hold this client"),
        (("a", "b", "sybil"), "not on the roster"),
    ):
        liar = world.liar()
        nonce = world.sessions["a"].hello(now()).nonce
        offer = liar.offer(nonce, announcement=liar.announcement(cohort=cohort))
        witness.client_refuses(
            f"announce the cohort {list(cohort)}",
            partial(world.accept, "a", offer),
            saying=says,
        )
    witness.goes_on(world)


ATTACKS = (small_cohort, few_updates, sybils, enclave_announces_a_small_cohort)
