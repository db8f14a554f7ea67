"""T10: malformed messages: one error each, and everything as before."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedenclave.attack_suite.world import FIRST, now, payload_of
from fedenclave.audit.receipt import ReceiptInvalid
from fedenclave.protocol.errors import EnclaveRefused, MalformedMessage, Reason
from fedenclave.protocol.exchange import Delivery, RoundOffer
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World

CLOSED = {reason.value for reason in Reason}


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with an open round, in which b and c take part in the end."""
    world = World(tmp_path_factory.mktemp("malformed"))
    world.open()
    yield world
    world.contribute({"b": 1, "c": 1})
    assert world.release("bc")[0].clients == 2
    world.close()


@given(data=st.data())
def test_a_damaged_offer_is_refused_or_still_says_the_same(
    open_world: World, data: st.DataObject
) -> None:
    session, offer = open_world.sessions["a"], open_world.offers["a"]
    encoded = bytearray(offer.to_bytes())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    before = session.state
    try:
        damaged = RoundOffer.from_bytes(bytes(encoded))
        accepted = session.accept(
            damaged, FIRST.to_bytes(), now(), training_config=NO_TRAINING_CONFIG
        )
    except (MalformedMessage, EnclaveRefused):
        assert session.state == before
        return
    # Only what the client does not believe anyway may have been hit.
    assert (damaged.announcement, damaged.evidence) == (offer.announcement, offer.evidence)
    assert accepted.announcement == open_world.announcement


@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"FEU1", b"FEU1\0\0\0\x05"]))
@settings(max_examples=40)
def test_garbage_for_an_update_is_a_rejection(open_world: World, data: bytes, head: bytes) -> None:
    before = open_world.status()
    result = open_world.aggregator.submit([head + data])
    assert (result.admitted, result.reason) == (False, Reason.MALFORMED.value)
    assert open_world.status().admitted == before.admitted


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_update_is_rejected_for_a_closed_reason(
    open_world: World, data: st.DataObject
) -> None:
    sealed = bytearray(open_world.forge("a", payload_of(1)))
    envelope = 800  # the part before the chunks, and a little of them
    at = data.draw(st.integers(0, envelope))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    before = open_world.status()
    result = open_world.aggregator.submit([bytes(sealed)])
    assert not result.admitted
    assert result.reason in CLOSED
    assert open_world.status().admitted == before.admitted


def test_an_update_cut_at_any_place_is_rejected(open_world: World) -> None:
    sealed = open_world.forge("a", payload_of(1))
    for size in (0, 1, 7, 8, 9, 100, 500, 700, len(sealed) // 2, len(sealed) - 1):
        result = open_world.aggregator.submit([sealed[:size]])
        assert result.reason in (Reason.MALFORMED.value, Reason.WRONG_LENGTH.value)


@given(
    parts=st.lists(st.binary(max_size=50), min_size=4, max_size=4),
    path=st.lists(st.binary(min_size=32, max_size=32), max_size=3),
    place=st.integers(0, 2**64 - 1),
)
@settings(max_examples=40)
def test_a_garbled_delivery_proves_nothing_and_is_not_kept(
    open_world: World, parts: list[bytes], path: list[bytes], place: int
) -> None:
    world, name = open_world, "a"
    if not world.sessions[name].state.pending:
        world.sealed(name, 1)
    answer, release, cohort, abort = parts
    delivery = Delivery(
        round=1,
        answer=answer,
        release=release,
        cohort=cohort,
        abort=abort,
        leaf_index=place,
        leaf_path=tuple(path),  # type: ignore[arg-type]
        log_roots=tuple(path),  # type: ignore[arg-type]
    )
    before = world.sessions[name].state
    with pytest.raises(ReceiptInvalid):
        world.sessions[name].take_delivery(delivery)
    assert world.sessions[name].state == before
    assert world.stores[name].receipts == {}
