"""T7: a member is shown one end of a round by its chain, and another by its receipt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fedenclave.protocol import merkle
from fedenclave.protocol.errors import EnclaveRefused, FedEnclaveError
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Release
from tests.attacks.world import World


def put_back(world: World, place: Path) -> None:
    """Wind the host's folder back, and let its ServerApp forget what it knows of the log."""
    shutil.rmtree(world.folder)
    shutil.copytree(place, world.folder)
    world.resume()
    world.coordinator._log, world.coordinator._places = merkle.Tree(), {}
    world.coordinator._answers, world.coordinator._releases = {}, []


def test_member_refuses_a_receipt_of_another_history_than_it_has_followed(
    world: World, tmp_path: Path
) -> None:
    world.open()
    shutil.copytree(world.folder, tmp_path / "opened")
    sealed = {name: world.sealed(name, step) for name, step in {"a": 1, "b": 1, "c": 4}.items()}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    _, shown = world.coordinator.close()
    world.close()
    put_back(world, tmp_path / "opened")
    # The other history: without c, and just as long.
    for name, update in (("a", sealed["a"]), ("b", sealed["b"]), ("", b"no update")):
        world.submit(name, update)
    world.coordinator.close()
    world.open()
    world.sealed("a", 1)
    session = world.sessions["a"]
    followed = session.state
    release = Release.from_bytes(Signed.from_bytes(shown["a"].release).payload)
    # What this member holds contradicts what it is handed: one round, one size, two logs.
    assert release.round == followed.head_round
    assert release.model != followed.head_model
    kept = len(world.stores["a"].receipts)
    with pytest.raises(EnclaveRefused, match="another history"):
        session.take_delivery(shown["a"])
    # It is the proof, and stays; what the client has followed it goes on to follow.
    assert len(world.stores["a"].receipts) == kept + 1
    assert session.state.checkpoint == followed.checkpoint
    assert session.state.head_model == followed.head_model


def test_member_that_has_seen_more_does_not_forget_it_by_sealing(
    world: World, tmp_path: Path
) -> None:
    """A delivery comes between the offer and the update: SPEC 13.9, "the newest of"."""
    world.open()
    shutil.copytree(world.folder, tmp_path / "opened")
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    _, shown = world.coordinator.close()
    world.close()
    put_back(world, tmp_path / "opened")
    for name in "ab":
        world.submit(name, sealed[name])
    world.coordinator.close()
    world.open()
    session = world.sessions["a"]
    accepted = world.accept("a")
    try:
        session.take_delivery(shown["a"])
        seen = session.state.checkpoint[0]
        session.seal(accepted, bytes(accepted.base.payload), 1)
    except FedEnclaveError:
        return
    assert session.state.checkpoint[0].size >= seen.size
