"""T15: one bad member stops everyone."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fedenclave.attack_suite.world import payload_of
from fedenclave.audit.receipt import Verdict
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World, now, value_of

Bad = Callable[[World], bytes]


def spoilt(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


BAD: dict[str, Bad] = {
    "sends nothing at all": lambda world: b"",
    "sends garbage": lambda world: b"garbage" * 100,
    "sends half an update": lambda world: world.forge("c", payload_of(1))[:100_000],
    "sends an update and more": lambda world: world.forge("c", payload_of(1)) + b"more",
    "sends ciphertext that does not open": lambda world: spoilt(world.forge("c", payload_of(1))),
    "sends numbers that are none": lambda world: world.forge("c", payload_of(float("nan"))),
    "signs with another key": lambda world: world.forge(
        "c", payload_of(1), signer=world.members["gamma"]
    ),
    "signs for somebody else": lambda world: world.forge(
        "a", payload_of(1), signer=world.keys["c"]
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_member_that_behaves_so_stops_nobody(world: World, bad: Bad) -> None:
    """Twice each: two rejections can be the same bytes, and each is an entry of the log."""
    world.open()
    assert not world.submit("c", bad(world)).admitted
    world.contribute({"a": 1})
    assert not world.submit("c", bad(world)).admitted
    world.contribute({"b": 3})
    release, receipts = world.release("ab")
    assert (release.clients, release.organisations) == (2, 2)
    assert {r.verdict for r in receipts.values()} == {Verdict.INCLUDED}
    assert value_of(world.model()) == 2.5
    assert world.status().log_size == len(world.aggregator.leaves(0))
    # And the round after it is an ordinary one, also for the member that did.
    world.open()
    world.contribute({"a": 0, "b": 0, "c": 0})
    assert set(world.release("abc")[1]["c"].clients) == {"a", "b", "c"}


def test_a_member_replaying_anothers_update_takes_nothing_from_it(world: World) -> None:
    world.open()
    update = world.sealed("a", 1)
    damaged = spoilt(update)
    # c is faster than a, with a's own envelope and other chunks; then with all of it.
    assert not world.submit("c", damaged).admitted
    assert world.submit("a", update).admitted
    assert world.submit("c", update).admitted
    world.contribute({"b": 3})
    release, receipts = world.release("ab")
    assert release.clients == 2
    assert receipts["a"].verdict is Verdict.INCLUDED
    assert value_of(world.model()) == 2.5


def test_a_rejected_member_may_send_a_good_update_in_the_same_round(world: World) -> None:
    world.open()
    assert not world.submit("c", world.forge("c", payload_of(float("inf")))).admitted
    world.contribute({"a": 1, "b": 1, "c": 4})
    release, receipts = world.release("abc")
    assert release.clients == 3
    assert receipts["c"].verdict is Verdict.INCLUDED
    assert value_of(world.model()) == 2.5


def test_a_receipt_says_that_an_update_was_rejected_and_why(world: World) -> None:
    world.open()
    update = world.sealed("c", 1)
    assert not world.submit("c", spoilt(update)).admitted
    world.contribute({"a": 1, "b": 1})
    _, receipts = world.release("abc")
    assert receipts["c"].verdict is Verdict.REJECTED
    assert receipts["c"].reason == "cannot-open"
    assert receipts["c"].model is None


def test_member_claiming_to_have_seen_a_longer_log_than_there_is_stops_nobody(
    world: World,
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    hellos = {name: world.sessions[name].hello(now()) for name in "abc"}
    hellos["c"] = replace(hellos["c"], log_size=2**60)
    world.offers = world.coordinator.open(hellos, NO_TRAINING_CONFIG)
    world.contribute({"a": 1, "b": 1})
    assert world.release("ab")[0].clients == 2
