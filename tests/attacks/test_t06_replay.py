"""T6: an update is counted again, in this round or in a later one."""

from dataclasses import replace

import pytest

from fedenclave.attack_suite.world import now, payload_of
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import EnclaveRefused, Reason
from fedenclave.protocol.sealed_update import frame, read_envelope
from fedenclave.protocol.signing import signing_input
from fedenclave.protocol.statements import Checkpoint
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of


def rejected(world: World, name: str, sealed: bytes, reason: Reason) -> None:
    """Submit; it must be rejected with `reason`, and nobody be admitted."""
    admitted = world.status().admitted
    result = world.aggregator.submit([sealed])
    assert (result.admitted, result.reason) == (False, reason.value)
    assert world.status().admitted == admitted


def test_host_sending_the_same_update_twice_gets_the_same_answer_and_counts_it_once(
    world: World,
) -> None:
    world.open()
    sealed = world.sealed("a", 1)
    first = world.submit("a", sealed)
    before = world.status()
    assert world.submit("a", sealed) == first
    assert world.status() == before
    world.contribute({"b": 4})
    release, receipts = world.release("ab")
    assert release.clients == 2
    assert set(receipts) == {"a", "b"}
    assert value_of(world.model()) == 3.0


def test_host_replaying_an_update_from_an_earlier_round_is_rejected(world: World) -> None:
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name, update in sealed.items():
        world.submit(name, update)
    world.release("abc")
    world.open()
    for name, update in sealed.items():
        rejected(world, name, update, Reason.WRONG_ROUND)
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    assert value_of(world.model()) == 2.5


def test_host_replaying_an_update_from_an_aborted_round_is_rejected(world: World) -> None:
    world.open()
    lost = world.sealed("a", 1)
    world.submit("a", lost)
    world.coordinator.abort()
    world.open()  # on the same base model, for the same cohort
    rejected(world, "a", lost, Reason.WRONG_ROUND)


def test_client_sending_a_second_update_in_one_round_is_rejected(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    rejected(world, "a", world.forge("a", payload_of(9)), Reason.REPLAYED)
    # Its first update counts, and its receipt is the one of the first.
    _, receipts = world.release("ab")
    assert receipts["a"].clients == ("a", "b")
    assert value_of(world.model()) == 1.5


ELSEWHERE: list[tuple[dict[str, object], Reason]] = [
    ({"federation": "another"}, Reason.WRONG_FEDERATION),
    ({"manifest": bytes(32)}, Reason.WRONG_MANIFEST),
    ({"round": 2}, Reason.WRONG_ROUND),
    ({"announcement": bytes(32)}, Reason.WRONG_ROUND),
    ({"base_model": bytes(32)}, Reason.WRONG_BASE_MODEL),
    ({"schema": bytes(32)}, Reason.WRONG_SCHEMA),
    ({"sealed_size": 1}, Reason.WRONG_LENGTH),
    ({"checkpoint": Checkpoint(size=0, root=Digest(bytes(32)))}, Reason.ENCLAVE_OLDER_THAN_CLIENT),
    ({"client": "b"}, Reason.BAD_SIGNATURE),
    ({"client": "nobody"}, Reason.UNKNOWN_CLIENT),
]


def test_an_update_for_anything_else_is_rejected(world: World) -> None:
    world.open()
    for changes, reason in ELSEWHERE:
        rejected(world, "a", world.forge("a", payload_of(1), **changes), reason)
    world.contribute({"a": 1, "b": 1})
    assert world.release("ab")[0].clients == 2


def test_a_roster_client_outside_the_rounds_cohort_is_rejected(world: World) -> None:
    world.open(["a", "b"])
    rejected(world, "c", world.forge("c", payload_of(1)), Reason.NOT_IN_COHORT)


def test_a_wrapped_key_moved_to_another_header_does_not_open(world: World) -> None:
    """A client could have another one's update counted as its own, too; HPKE binds the header."""
    world.open()
    mine, theirs = (world.forge(name, payload_of(1)) for name in "ab")
    moved = replace(read_envelope(mine), wrapped_key=read_envelope(theirs).wrapped_key)
    signature = world.keys["a"].sign(signing_input("update", moved.signed_payload()))
    chunks = theirs[-world.header("b").sealed_size :]
    rejected(world, "a", frame(replace(moved, signature=signature)) + chunks, Reason.CANNOT_OPEN)


def test_client_offered_one_round_twice_seals_for_it_once(world: World) -> None:
    world.open()
    world.contribute({"a": 1})
    fresh = world.sessions["a"].hello(now())
    again = replace(
        world.offers["a"],
        evidence=world.aggregator.evidence(merkle.root([fresh.nonce])),
        nonce=fresh.nonce,
        nonce_index=0,
        nonce_count=1,
        nonce_path=(),
    )
    before = world.sessions["a"].state
    with pytest.raises(EnclaveRefused, match="sealed for round 1 already"):
        world.sessions["a"].accept(
            again, world.aggregator.model(), now(), training_config=NO_TRAINING_CONFIG
        )
    assert world.sessions["a"].state == before


def test_client_holding_two_accepted_offers_of_one_round_seals_once(world: World) -> None:
    world.open()
    first, second = world.accept("a"), world.accept("a")
    world.sessions["a"].seal(first, payload_of(1), 1)
    stored = world.stores["a"].state
    with pytest.raises(EnclaveRefused, match="sealed already"):
        world.sessions["a"].seal(second, payload_of(2), 1)
    assert world.stores["a"].state == stored
    # Also after a restart between the two: what it has sealed for is written before it is sent.
    world.sessions["a"] = world.session("a")
    with pytest.raises(EnclaveRefused, match="sealed already"):
        world.sessions["a"].seal(second, payload_of(2), 1)


def test_an_update_for_another_federation_with_the_same_clients_is_rejected(
    new_world: NewWorld,
) -> None:
    world, other = new_world(), new_world()
    world.open()
    other.open()
    rejected(world, "a", other.sealed("a", 1), Reason.BAD_SIGNATURE)
    signed_again = other.forge("a", payload_of(1), signer=world.keys["a"])
    rejected(world, "a", signed_again, Reason.WRONG_MANIFEST)
