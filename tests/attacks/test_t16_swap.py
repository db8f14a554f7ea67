"""T16: a sender in league with the host swaps its ciphertext after it has been judged."""

import os
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.attack_suite.gcm_forgery import same_tag
from fedenclave.attack_suite.world import FIRST, SCHEMA, payload_of
from fedenclave.audit.receipt import Verdict
from fedenclave.protocol.errors import Reason, Refusal, RequestRefused
from fedenclave.protocol.sealed_update import chunk_nonce, chunk_offsets, sealed_size
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Rejection, Release
from tests.attacks.world import World, value_of

KEY = bytes(range(32))


def chunk_place(sealed: bytes, number: int) -> slice:
    """Return where sealed chunk `number` (1: the first of the payload) lies in the file."""
    start = len(sealed) - sealed_size(SCHEMA) + chunk_offsets(SCHEMA)[number]
    return slice(start, start + SCHEMA.chunks[number - 1].size + 16)


def forged_with_the_same_tag(sealed: bytes) -> bytes:
    """Change c's second chunk so that it still opens, to another update."""
    place = chunk_place(sealed, 2)
    before = sealed[place]
    for grain in range(256):  # until what the second block becomes is a number
        change = b"\0\0\0\x80" + bytes(11) + bytes([grain])
        after = same_tag(KEY, before, block=0, change=change)
        plain = AESGCM(KEY).decrypt(chunk_nonce(2, last=False), after, None)
        if np.isfinite(np.frombuffer(plain, np.float32)).all():
            break
    assert after[-16:] == before[-16:]
    assert after != before
    assert plain != AESGCM(KEY).decrypt(chunk_nonce(2, last=False), before, None)
    return sealed[: place.start] + after + sealed[place.stop :]


def one_byte(sealed: bytes, at: int) -> bytes:
    return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


def swap(file: Path, new: bytes) -> None:
    """Write into the file that the enclave holds open."""
    with file.open("r+b") as opened:
        opened.truncate(0)
        opened.write(new)


def collected(world: World, members: str) -> bytes:
    """Open a round in which c's update is admitted, and those of `members`; return c's."""
    world.open()
    sealed = world.forge("c", payload_of(7), content_key=KEY)
    assert world.submit("c", sealed).admitted
    world.contribute(dict.fromkeys(members, 1.0))
    return sealed


SWAPS = {
    "the same tag": forged_with_the_same_tag,
    "a byte of the first chunk": lambda s: one_byte(s, chunk_place(s, 1).start),
    "a byte of the last tag": lambda s: one_byte(s, len(s) - 1),
    "another update": lambda s: (
        s[: chunk_place(s, 1).start] + os.urandom(len(s))[: len(s) - chunk_place(s, 1).start]
    ),
}


@pytest.mark.parametrize("name", SWAPS)
def test_sender_swapping_its_ciphertext_is_set_aside_and_the_round_goes_on(
    world: World, name: str
) -> None:
    sealed = collected(world, "ab")
    swap(world.stored(sealed), SWAPS[name](sealed))
    result, deliveries = world.coordinator.close()
    release = Release.from_bytes(Signed.from_bytes(result.closed.release).payload)
    assert (release.clients, release.organisations) == (2, 2)
    assert value_of(world.model()) == 1.5
    # The enclave says so, signed, and c's own receipt does.
    (signed,) = result.closed.set_aside
    rejection = Rejection.from_bytes(Signed.from_bytes(signed).payload)
    assert (rejection.client, rejection.reason) == ("c", Reason.CHANGED_AFTER_ADMISSION)
    for honest in "ab":
        receipt = world.sessions[honest].take_delivery(deliveries[honest])
        assert (receipt.verdict, receipt.clients) == (Verdict.INCLUDED, ("a", "b"))


def test_swapping_where_too_few_are_left_releases_nothing(world: World) -> None:
    sealed = collected(world, "a")
    swap(world.stored(sealed), forged_with_the_same_tag(sealed))
    with pytest.raises(RequestRefused) as error:
        world.coordinator.close()
    assert error.value.refusal is Refusal.COHORT_TOO_SMALL
    assert world.status().state == "collecting"
    # Set aside it stays, also where the file is put back; another member saves the round.
    again = world.aggregator.submit([sealed])
    assert (again.admitted, again.reason) == (False, Reason.REPLAYED.value)
    world.contribute({"b": 1})
    release, receipts = world.release("ab")
    assert release.clients == 2
    assert receipts["b"].clients == ("a", "b")
    assert value_of(world.model()) == 1.5


def test_set_aside_client_has_a_receipt_that_says_so(world: World) -> None:
    """An honest client whose update the host damages learns of it."""
    world.open()
    sealed = world.sealed("c", 7)
    assert world.submit("c", sealed).admitted
    world.contribute({"a": 1, "b": 1})
    swap(world.stored(sealed), one_byte(sealed, len(sealed) - 100))
    _, receipts = world.release("abc")
    assert receipts["c"].verdict is Verdict.SET_ASIDE
    assert "c" not in receipts["c"].clients


def test_host_swapping_every_update_at_once_gets_no_release(world: World) -> None:
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name, update in sealed.items():
        world.submit(name, update)
    for update in sealed.values():
        swap(world.stored(update), one_byte(update, len(update) - 1))
    with pytest.raises(RequestRefused) as error:
        world.coordinator.close()
    assert error.value.refusal is Refusal.COHORT_TOO_SMALL
    assert world.model().digest() == FIRST.digest()


def test_what_is_swapped_before_the_envelope_counts_for_nothing(world: World) -> None:
    """Only the chunks are read again: the envelope and the example count are what was judged."""
    sealed = collected(world, "ab")
    swap(
        world.stored(sealed),
        b"\xff" * chunk_place(sealed, 1).start + sealed[chunk_place(sealed, 1).start :],
    )
    world.release("ab")
    assert value_of(world.model()) == 0.5 + (7 + 1 + 1) / 3
