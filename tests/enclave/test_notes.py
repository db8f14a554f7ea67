"""The enclave signs its newest checkpoint as a note between two rounds; the host publishes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.enclave.states import TRANSITIONS
from fedenclave.protocol import merkle
from fedenclave.protocol.checkpoint_note import (
    NotedCheckpoint,
    cosign_checkpoint,
    log_origin,
    verify_checkpoint,
)
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.frames import Operation
from fedenclave.protocol.signed_note import NoteKey, SignatureType, sign_note
from fedenclave.protocol.signing import PublicKey, public_key
from tests.attacks.world import World
from tests.restart.test_restart import killed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "host")
    yield world
    world.close()


def key_of(world: World) -> NoteKey:
    key = PublicKey(world.aggregator.info()[2].signing_key)
    return NoteKey(name=log_origin(world.manifest.name, key), key=key)


def published(world: World) -> NotedCheckpoint:
    note = world.aggregator.checkpoint()
    assert (world.folder / "checkpoint").read_bytes() == note
    return verify_checkpoint(note, key_of(world))


def test_the_note_is_of_the_log_with_the_newest_end(world: World) -> None:
    assert published(world).checkpoint.size == 1
    for end in ("release", "abort"):
        world.open()
        world.contribute({"a": 1, "b": 1})
        before = published(world)
        if end == "release":
            world.release("ab")
        else:
            world.coordinator.abort()
        noted = published(world)
        assert noted.checkpoint.size == world.status().log_size > before.checkpoint.size
        assert noted.checkpoint.root == merkle.root(world.aggregator.leaves(0))
        # It is what clients hold and present, too.
    world.open()
    assert world.announcement.checkpoint == noted.checkpoint


def test_no_note_is_of_an_open_round() -> None:
    """A member of it could present what no other client will ever be shown."""
    states = {state for state, operation in TRANSITIONS if operation is Operation.NOTE}
    assert states == {"idle"}


def test_a_witness_stays_until_the_next_round_and_over_a_restart(world: World) -> None:
    witness = world.members["alpha"]
    known = NoteKey(name="w.example", key=public_key(witness), type=SignatureType.COSIGNATURE)
    world.aggregator.checkpoint_file.add(
        lambda note: cosign_checkpoint(note, key_of(world), known.name, witness, 7)
    )
    cosigned = world.aggregator.checkpoint()
    assert verify_checkpoint(cosigned, key_of(world), [known]).witnesses == {"w.example": 7}
    world.restart()
    assert world.aggregator.checkpoint() == cosigned
    killed(world)
    world.start()
    assert world.aggregator.checkpoint() == cosigned
    world.open()
    world.coordinator.abort()
    assert verify_checkpoint(world.aggregator.checkpoint(), key_of(world), [known]).witnesses == {}
    # What lies there and is no note, or none of a log, is made anew.
    other = sign_note("one line\n", "w.example", witness).to_line()
    for left in ("damaged", f"one line\n\n{other}"):
        world.close()
        (world.folder / "checkpoint").write_text(left, encoding="utf-8")
        world.start()
        assert published(world).checkpoint.size == world.status().log_size


def test_another_enclaves_note_does_not_pass(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    note = other.aggregator.checkpoint()
    other.close()
    with pytest.raises(MalformedMessage, match="no signature of"):
        verify_checkpoint(note, key_of(world))
