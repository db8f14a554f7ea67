"""A ServerApp that takes another's place hands clients what the other one owed them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedenclave.audit.receipt import Verdict
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.gateway import Gateway
from fedenclave.host.remote import RemoteAggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.exchange import Delivery
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World, now

ALL = {"a": 1.0, "b": 2.0, "c": 3.0}


def one_round(world: World) -> dict[str, Delivery]:
    """Play a round to its release; return what nobody has delivered yet."""
    world.open()
    world.contribute(ALL)
    return world.coordinator.close()[1]


def taken(world: World) -> dict[str, dict[int, Verdict]]:
    """Begin with a new ServerApp; return what each client makes of what that one delivers."""
    world.coordinator = RoundCoordinator(world.aggregator, send_manifest=True)
    made: dict[str, dict[int, Verdict]] = {}
    for deliveries in world.coordinator.deliveries_before():
        for name, delivery in deliveries.items():
            if world.sessions[name].awaits(delivery.round):
                receipt = world.sessions[name].take_delivery(delivery)
                made.setdefault(name, {})[receipt.round] = receipt.verdict
    return made


def test_a_release_that_was_not_delivered_is_delivered_by_the_next(world: World) -> None:
    one_round(world)
    assert taken(world) == {name: {1: Verdict.INCLUDED} for name in ALL}
    assert taken(world) == {}, "delivered again, and nobody waits"
    world.open()
    world.contribute(ALL)
    world.release("abc")


def test_an_open_round_is_aborted_and_its_clients_are_told_so(world: World) -> None:
    one_round(world)
    world.open()
    world.contribute({"a": 1, "b": 1})
    told = {1: Verdict.INCLUDED, 2: Verdict.ABORTED}
    assert taken(world) == {"a": told, "b": told, "c": {1: Verdict.INCLUDED}}


def test_it_is_made_again_after_a_restart_of_the_aggregator_too(world: World) -> None:
    one_round(world)
    world.restart()
    assert taken(world) == {name: {1: Verdict.INCLUDED} for name in ALL}


def test_restarted_with_its_aggregator_in_a_round_it_tells_of_the_release_before_too(
    world: World,
) -> None:
    one_round(world)
    world.open()
    world.contribute(ALL)
    world.restart()
    assert taken(world) == {name: {1: Verdict.INCLUDED, 2: Verdict.ABORTED} for name in ALL}
    assert world.sessions["a"].state.pending == ()


@pytest.mark.parametrize("left", [b"", b"\xff", None])
def test_a_release_that_was_not_kept_costs_its_deliveries_and_nothing_else(
    world: World, left: bytes | None
) -> None:
    one_round(world)
    world.open()
    world.contribute(ALL)
    world.close()
    kept = world.folder / "newest-release"
    kept.unlink() if left is None else kept.write_bytes(left)
    world.start()
    assert taken(world) == {name: {2: Verdict.ABORTED} for name in ALL}
    world.open()
    world.contribute(ALL)
    world.release("abc")


def test_nobody_is_owed_anything_before_the_first_round_or_by_an_open_one(world: World) -> None:
    assert world.aggregator.round_ends() == ()
    world.open()
    world.contribute(ALL)
    assert world.aggregator.round_ends() == ()


def test_what_an_update_was_set_aside_for_is_said_by_the_next(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    sealed = world.sealed("c", 9)
    assert world.submit("c", sealed).admitted
    world.stored(sealed).write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    world.coordinator.close()
    verdicts = {name: made[1] for name, made in taken(world).items()}
    assert verdicts == {"a": Verdict.INCLUDED, "b": Verdict.INCLUDED, "c": Verdict.SET_ASIDE}


def test_no_more_aborted_rounds_are_told_of_than_a_client_keeps_in_mind(world: World) -> None:
    for _ in range(10):
        world.open()
        world.contribute({"a": 1})
        world.coordinator.abort()
    ends = world.aggregator.round_ends()
    assert len(ends) == len(world.sessions["a"].state.pending) == 8
    assert sorted(taken(world)["a"]) == list(range(3, 11))


@pytest.fixture
def remote(world: World) -> Iterator[RemoteAggregator]:
    assert isinstance(world.aggregator, Aggregator)
    with (
        Gateway(world.aggregator, "127.0.0.1:0", tls=None, insecure_plaintext=True) as gateway,
        RemoteAggregator(gateway.address, root_certificate=None, insecure=True) as remote,
    ):
        yield remote


def test_a_gateway_tells_the_same(world: World, remote: RemoteAggregator) -> None:
    one_round(world)
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.coordinator.abort()
    ends = remote.round_ends()
    assert ends == world.aggregator.round_ends()
    assert [bool(end.abort) for end in ends] == [False, True]


def test_an_update_that_comes_a_round_late_is_rejected_and_makes_no_delivery(world: World) -> None:
    world.open()
    world.contribute({"b": 1, "c": 1})
    late = world.sealed("a", 1)
    world.coordinator.close()
    world.open()
    world.contribute({"b": 1, "c": 1})
    assert world.submit("a", late).reason == Reason.WRONG_ROUND
    answered = {n for n, delivery in world.coordinator.close()[1].items() if delivery.answer}
    assert answered == {"b", "c"}
    assert world.aggregator.round_ends()[0].answers
    world.coordinator = RoundCoordinator(world.aggregator, send_manifest=True)
    (again,) = world.coordinator.deliveries_before()
    assert {name for name, delivery in again.items() if delivery.answer} == {"b", "c"}


def test_the_rejection_of_a_late_update_keeps_its_client_from_no_later_round(world: World) -> None:
    world.open()
    world.contribute({"b": 1, "c": 1})
    late = world.sealed("a", 1)
    hello = world.sessions["a"].hello(now())
    assert world.submit("a", late).admitted
    first = world.coordinator.close()[1]["a"]
    world.open(["b", "c"])
    world.contribute({"b": 1, "c": 1})
    assert world.submit("a", late).reason == Reason.WRONG_ROUND
    world.coordinator.close()
    # Only now does it hear of the first round, since its hello for the third.
    world.sessions["a"].take_delivery(first)
    hellos = {"a": hello, **{name: world.sessions[name].hello(now()) for name in "bc"}}
    world.offers = world.coordinator.open(hellos, NO_TRAINING_CONFIG)
    world.accept("a")
