"""Nobody learns of anything that a power failure could still take."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol.aggregation import Adam
from tests.attacks.conftest import NewWorld
from tests.attacks.world import FIRST, World
from tests.restart.power import Power

ADAM = Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
CHANGES = ("open", "admit", "close", "abort")


def play(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 2, "c": 3})
    world.release("abc")


def restarted(world: World, *, flushed: bool) -> None:
    world.close()
    world.aggregator = Aggregator(
        world.folder,
        manifest=world.manifest.source,
        approvals=world.approvals,
        model=FIRST,
        tee="insecure",
        flushed=flushed,
    )
    world.coordinator._aggregator = world.aggregator


def test_at_every_answer_and_before_every_step_the_disk_has_what_it_rests_on(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, events = new_world(server=ADAM), []

    def told(event: str) -> None:
        events.append(event)
        what, which = event.split(" ", 1)
        if what == "answer":
            # What the request did is sealed and on the disk before anybody is told.
            assert power.unflushed("state") == set(), event
        if event == "ask admit":
            # An update that the enclave admits is there for its passes.
            assert power.unflushed("ciphertext") == set(), event
        if event == "ask open":
            # A new segment takes the place of the one with these statements in it.
            assert power.unflushed("statements.fel", "models", "optimiser") == set(), event
        if what == "rename" and not which.startswith("ciphertext/"):
            # A file under a name that counts is whole.
            folder = which.split("/")[0]
            assert {p for p in power.contents if p.startswith(folder)} == set(), event
        if what == "rename" and which.startswith("models/round-"):
            assert power.unflushed("optimiser") == set(), event
        if what == "rename" and which.endswith(".spare"):
            # No update is let go before the model that it is in.
            assert power.unflushed("models", "optimiser", "state") == set(), event

    with monkeypatch.context() as patch:
        power = Power(patch, world.folder, told)
        for _ in range(3):
            play(world)
        world.open()
        world.coordinator.abort()
    assert {f"answer {operation}" for operation in CHANGES} <= set(events)
    for part in ("state/segment-", "models/round-", "optimiser/round-", "ciphertext/"):
        assert any(event.startswith(f"rename {part}") for event in events), part
    world.restart()
    play(world)


def test_what_a_new_federation_begins_with_is_on_the_disk_before_it_is_told(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = new_world()
    folder, told = tmp_path / "new", []

    def listen(event: str) -> None:
        told.append(event)
        if event == "rename models/round-0.fem":
            assert "models/next.partial" in power.flushed
        if event == "ask start":
            assert power.unflushed("models", ".") == set()
        if event == "answer start":
            assert power.unflushed("models", "state", ".") == set()

    folder.mkdir()
    with monkeypatch.context() as patch:
        power = Power(patch, folder, listen)
        Aggregator(
            folder,
            manifest=other.manifest.source,
            approvals=other.approvals,
            model=FIRST,
            tee="insecure",
        ).close()
    assert [event for event in told if "start" in event] == ["ask start", "answer start"]


def test_who_does_not_ask_for_it_does_not_wait_for_the_disk(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = new_world(server=ADAM)
    world.close()  # of one that waits, and says that it ends
    with monkeypatch.context() as patch:
        power = Power(patch, world.folder, lambda _: None)
        restarted(world, flushed=False)
        for _ in range(2):
            play(world)
        assert power.flushed == []
        assert power.unflushed("state", "models", "optimiser", "statements.fel")
    restarted(world, flushed=True)
    play(world)
