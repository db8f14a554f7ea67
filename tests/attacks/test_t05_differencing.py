"""T5: two releases on one base model, subtracted, would show what the difference sent."""

import pytest

from fedenclave.enclave.differencing import CohortHistory
from fedenclave.enclave.journal import Journal
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of
from tests.enclave.shards import manifest_of


def refused(world: World) -> None:
    before = world.status()
    with pytest.raises(RequestRefused) as error:
        world.coordinator.close()
    assert error.value.refusal is Refusal.DIFFERENCING
    assert world.status() == before


def test_host_releasing_the_same_base_with_one_organisation_less_is_refused(world: World) -> None:
    # Updates of zeros leave the model as it was: the next round is on the same base.
    world.open()
    world.contribute({"a": 0, "b": 0, "c": 0})
    first, _ = world.release("abc")
    assert first.model == first.base_model
    world.open()
    world.contribute({"a": 1, "b": 1})
    refused(world)
    # With the same cohort as before it is released.
    world.contribute({"c": 1})
    second, receipts = world.release("abc")
    assert second.base_model == first.base_model
    assert set(receipts["a"].clients) == {"a", "b", "c"}
    assert value_of(world.model()) == 1.5


def test_host_releasing_the_same_base_with_one_organisation_more_is_refused(world: World) -> None:
    world.open(["a", "b"])
    world.contribute({"a": 0, "b": 0})
    world.release("ab")
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    refused(world)
    world.coordinator.abort()
    # On another base model there is nothing to subtract from.
    world.open(["a", "b"])
    world.contribute({"a": 1, "b": 1})
    world.release("ab")
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    assert world.release("abc")[0].organisations == 3


def test_host_exchanging_one_client_of_an_organisation_is_refused(new_world: NewWorld) -> None:
    world = new_world({"a1": "alpha", "b1": "beta", "b2": "beta"})
    world.open()
    world.contribute({"a1": 0, "b1": 0, "b2": 0})
    world.release(["a1", "b1", "b2"])
    world.open()
    world.contribute({"a1": 1, "b1": 1})
    refused(world)


A, B, C, D = ({name: name.upper()} for name in "abcd")
TWO_OF_A = {"a": "A", "a2": "A"}
BASE = Digest(bytes(32))


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        (A | B, A | B, True),
        (A | B, A | B | C, False),
        (A | B | C, A | B, False),
        (A | B, C | D, True),
        (A | B, A | C, True),  # differs by two: what B and C sent stays mixed
        (A | B, A | B | C | D, True),
        (A | B, TWO_OF_A | B, False),
        (TWO_OF_A | B, A | B, False),
        ({"a": "A", "b": "B"}, {"a2": "A", "b2": "B"}, True),
        ({"a": "A", "b": "B"}, {"a2": "A", "b2": "B", "c": "C"}, False),
    ],
)
def test_cohorts_on_one_base_are_equal_or_differ_by_enough(
    first: dict[str, str], second: dict[str, str], allowed: bool
) -> None:
    history = CohortHistory(2, first | second, Journal(None, manifest_of(DEFAULT_RULES)))
    history.add(BASE, first)
    history.check(Digest(b"o" * 32), second)
    if allowed:
        history.check(BASE, second)
    else:
        with pytest.raises(RequestRefused):
            history.check(BASE, second)
