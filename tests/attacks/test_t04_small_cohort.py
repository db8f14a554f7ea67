"""T4: a cohort of one, or of several clients of one organisation, would show what they sent."""

from collections.abc import Sequence

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, now
from fedenclave.protocol.errors import EnclaveRefused, Refusal, RequestRefused
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of

PAIRS = {"a1": "alpha", "a2": "alpha", "b1": "beta"}


def refused(world: World, refusal: Refusal, cohort: Sequence[str] | None = None) -> None:
    """Open with `cohort`, or close: it must be refused, and change nothing."""
    before = world.status()
    with pytest.raises(RequestRefused) as error:
        world.aggregator.open_round(
            cohort, NO_TRAINING_CONFIG
        ) if cohort is not None else world.coordinator.close()
    assert error.value.refusal is refusal
    assert world.status() == before


def test_host_opening_a_round_for_too_few_organisations_is_refused(new_world: NewWorld) -> None:
    world = new_world(PAIRS)
    for cohort in ([], ["a1"], ["a1", "a2"]):
        refused(world, Refusal.COHORT_TOO_SMALL, cohort)
    for cohort in (["a1", "sybil"], ["a1", "b1", "b1"], ["a1", "a1"], [""]):
        refused(world, Refusal.UNKNOWN_CLIENT, cohort)
    world.open()
    world.contribute({"a1": 1, "a2": 1, "b1": 4})
    release, receipts = world.release(["a1", "a2", "b1"])
    assert (release.clients, release.organisations) == (3, 2)
    assert receipts["a1"].organisations == ("alpha", "beta")
    assert value_of(world.model()) == 2.5


def test_host_closing_a_round_with_one_update_is_refused_and_the_round_goes_on(
    world: World,
) -> None:
    world.open()
    refused(world, Refusal.COHORT_TOO_SMALL)
    world.contribute({"a": 1})
    refused(world, Refusal.COHORT_TOO_SMALL)
    world.contribute({"b": 3})
    release, _ = world.release("ab")
    assert (release.clients, release.organisations) == (2, 2)
    assert value_of(world.model()) == 2.5


def test_host_closing_a_round_with_two_clients_of_one_organisation_is_refused(
    new_world: NewWorld,
) -> None:
    world = new_world(PAIRS)
    world.open()
    world.contribute({"a1": 1, "a2": 1})
    refused(world, Refusal.COHORT_TOO_SMALL)
    world.contribute({"b1": 4})
    assert world.release(["a1", "a2", "b1"])[0].organisations == 2


@pytest.mark.parametrize(
    ("cohort", "match"),
    [
        (("a1",), "has 1 organisations"),
        (("a1", "a2"), "has 1 organisations"),
        (("b1",), "does not hold this client"),
        ((), "does not hold this client"),
        (("a1", "b1", "stranger"), "not on the roster"),
    ],
)
def test_client_refuses_an_enclave_that_announces_such_a_cohort(
    new_world: NewWorld, cohort: tuple[str, ...], match: str
) -> None:
    world = new_world(PAIRS)
    session, liar = world.sessions["a1"], LyingEnclave(world.manifest)
    nonce = session.hello(now()).nonce
    before = session.state
    offer = liar.offer(nonce, announcement=liar.announcement(cohort=cohort))
    with pytest.raises(EnclaveRefused, match=match):
        session.accept(offer, FIRST.to_bytes(), now(), training_config=NO_TRAINING_CONFIG)
    assert session.state == before
