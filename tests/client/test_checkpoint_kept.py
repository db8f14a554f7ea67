"""A client keeps the log's newest note if its enclave has signed it and its copy is of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.state import MemoryStore
from fedenclave.protocol.checkpoint_note import (
    cosign_checkpoint,
    log_origin,
    sign_checkpoint,
)
from fedenclave.protocol.errors import EnclaveRefused, MalformedMessage
from fedenclave.protocol.exchange import LogPart
from fedenclave.protocol.signed_note import NoteKey
from fedenclave.protocol.signing import PublicKey, public_key
from fedenclave.protocol.statements import Checkpoint
from tests.attacks.world import World


class Keeps(MemoryStore):
    """Keeps the note, too."""

    note = b""

    def save_checkpoint(self, note: bytes) -> None:
        self.note = note


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "host")
    for name in world.stores:
        world.stores[name] = Keeps()
        world.sessions[name] = world.session(name)
    yield world
    world.close()


def play(world: World, names: str) -> None:
    world.open(list(names))
    world.contribute(dict.fromkeys(names, 1.0))
    world.release(names)


def take(world: World, name: str) -> None:
    """Deliver as the mod does: the log, then the note."""
    note, part = world.coordinator.checkpoint(), world.coordinator.log_part_for(name)
    world.sessions[name].take_log(part)
    world.sessions[name].take_checkpoint(note, part)


def kept(world: World, name: str) -> bytes:
    store = world.stores[name]
    assert isinstance(store, Keeps)
    return store.note


def test_the_newest_note_is_kept_with_its_witnesses(world: World) -> None:
    play(world, "abc")
    take(world, "a")
    assert kept(world, "a") == world.aggregator.checkpoint()
    key = PublicKey(world.aggregator.info()[2].signing_key)
    log_key = NoteKey(name=log_origin(world.manifest.name, key), key=key)
    world.aggregator.checkpoint_file.add(
        lambda note: cosign_checkpoint(note, log_key, "w", world.members["alpha"], 1)
    )
    for name in "ab":
        take(world, name)
        assert kept(world, name) == world.aggregator.checkpoint()
    play(world, "abc")
    take(world, "a")
    assert kept(world, "a") == world.aggregator.checkpoint() != kept(world, "b")


def test_a_copy_grows_to_the_note_also_past_what_the_client_took_part_in(world: World) -> None:
    play(world, "abc")
    for _ in range(2):
        play(world, "ab")
    assert world.sessions["c"].state.log_size == 1
    take(world, "c")
    assert world.sessions["c"].state.log_size == world.status().log_size
    assert kept(world, "c") == world.aggregator.checkpoint()
    # The next round goes on from there.
    play(world, "abc")
    take(world, "c")
    assert world.sessions["c"].state.log_size == world.status().log_size


def test_a_receipt_that_is_still_awaited_is_judged_by_the_grown_copy(world: World) -> None:
    world.open()
    world.contribute(dict.fromkeys("abc", 1.0))
    _, deliveries = world.coordinator.close()
    play(world, "ab")
    take(world, "c")
    assert [end.round for end in world.sessions["c"].state.ends] == [1]
    world.sessions["c"].take_delivery(deliveries["c"])
    assert world.sessions["c"].state.pending == ()


def test_a_note_that_does_not_hold_is_refused_and_changes_nothing(world: World) -> None:
    play(world, "abc")
    session, part = world.sessions["a"], world.coordinator.log_part_for("a")
    note = world.aggregator.checkpoint()
    before = session.state
    stranger = Ed25519PrivateKey.generate()
    origin = log_origin(world.manifest.name, public_key(stranger))
    size = world.status().log_size
    root = world.sessions["a"].state.checkpoint[0].root
    for wrong in (
        sign_checkpoint(Checkpoint(size=size, root=root), origin, stranger),
        note.replace(f"\n{size}\n".encode(), f"\n{size + 1}\n".encode()),
        note[:-1],
        b"junk",
        b"",
    ):
        with pytest.raises(EnclaveRefused, match="the log's checkpoint does not hold"):
            session.take_checkpoint(wrong, part)
    # A good one, with a part that is not of it.
    for entries in (b"", part.entries[:-1] + bytes([part.entries[-1] ^ 1])):
        with pytest.raises(EnclaveRefused, match="not shown to go on"):
            session.take_checkpoint(note, LogPart(first=part.first, entries=entries))
    with pytest.raises(MalformedMessage):
        session.take_checkpoint(note, LogPart(first=part.first, entries=b"\x00"))
    assert session.state == before
    assert kept(world, "a") == b""


def test_a_note_of_a_forked_or_wound_back_log_is_refused(world: World, tmp_path: Path) -> None:
    world.close()
    shutil.copytree(world.folder, tmp_path / "fork")
    world.start()
    first = world.aggregator.checkpoint()
    play(world, "ab")
    take(world, "a")
    good, before = kept(world, "a"), world.sessions["a"].state
    world.close()
    world.folder = tmp_path / "fork"
    world.start()
    forked = []
    for _ in range(3):
        world.aggregator.open_round(["a", "b"], world.manifest.digest)
        world.aggregator.abort_round()
        forked.append((world.aggregator.checkpoint(), world.aggregator.log_part(0, 99)))
    assert before.log_size == 6
    # Older ones are passed over: where the log was wound back, the next announcement shows it.
    for note, entries in ((first, b""), *forked[:1]):
        world.sessions["a"].take_checkpoint(note, LogPart(first=0, entries=entries))
    for note, entries in forked[1:]:
        with pytest.raises(EnclaveRefused, match="not shown to go on from the 6") as refused:
            world.sessions["a"].take_checkpoint(note, LogPart(first=0, entries=entries))
        assert "keep this client's folder as proof" in refused.value.hint
    assert (kept(world, "a"), world.sessions["a"].state) == (good, before)


def test_a_note_that_cannot_be_compared_is_not_kept(world: World) -> None:
    play(world, "abc")
    note, size = world.aggregator.checkpoint(), world.status().log_size
    world.sessions["a"].take_checkpoint(note, LogPart(first=size, entries=b""))
    assert kept(world, "a") == b""
    world.stores["c"] = Keeps()
    with pytest.raises(EnclaveRefused, match="has not taken part"):
        world.session("c").take_checkpoint(note, LogPart(first=0, entries=b""))


def test_a_client_in_memory_keeps_none(world: World) -> None:
    world.stores["a"] = MemoryStore()
    world.sessions["a"] = world.session("a")
    play(world, "abc")
    take(world, "a")
    assert world.sessions["a"].state.log_size == world.status().log_size
