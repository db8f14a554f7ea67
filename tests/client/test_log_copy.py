"""Every member keeps a copy of the enclave's log, which is the host's to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.audit.log import verify_log
from fedenclave.client.folder import LOG_FILE, ClientFolder
from fedenclave.client.state import MemoryStore
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused, MalformedMessage
from fedenclave.protocol.exchange import LogPart
from fedenclave.protocol.log_file import MAGIC, frame
from fedenclave.protocol.signing import PublicKey
from tests.attacks.world import World, now


class OnDisk(MemoryStore):
    """Keeps the copy of the log as a client folder does, and may lose power before the state."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.fails = folder, False

    @property
    def log(self) -> Path:
        return self.folder / LOG_FILE

    def save_log(self, entries: bytes, position: int) -> None:
        ClientFolder(self.folder).save_log(entries, position)

    def save_state(self, data: bytes) -> None:
        if self.fails:
            raise OSError("no power")
        super().save_state(data)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "host")
    for name in world.stores:
        (tmp_path / name).mkdir()
        world.stores[name] = OnDisk(tmp_path / name)
        world.sessions[name] = world.session(name)
    yield world
    world.close()


def log_of(world: World, name: str) -> Path:
    store = world.stores[name]
    assert isinstance(store, OnDisk)
    return store.log


def play(world: World, names: str) -> None:
    world.open(list(names))
    world.contribute(dict.fromkeys(names, 1.0))
    world.release(names)


def test_each_copy_is_the_beginning_of_the_hosts_log_and_valid(world: World) -> None:
    play(world, "abc")
    play(world, "ab")
    play(world, "abc")
    world.open(["a", "b"])
    world.contribute({"a": 1, "b": 1})
    whole = (world.folder / "statements.fel").read_bytes()
    for name, size in (("a", 15), ("b", 15), ("c", 10)):
        copy = log_of(world, name).read_bytes()
        assert whole.startswith(copy)
        key = PublicKey(world.sessions[name].state.enclave_key)
        with log_of(world, name).open("rb") as stream:
            verified = verify_log(stream, key, world.manifest)
        assert verified.checkpoint.size == size == world.sessions[name].state.log_size
        assert len(copy) == world.sessions[name].state.log_bytes


def test_the_last_rounds_end_comes_with_the_last_delivery(world: World) -> None:
    play(world, "abc")
    for name in "ab":
        session = world.sessions[name]
        before = log_of(world, name).read_bytes()
        session.take_log(world.coordinator.log_part_for(name))
        assert session.state.log_size == world.status().log_size == 6
        whole = (world.folder / "statements.fel").read_bytes()
        assert log_of(world, name).read_bytes() == whole != before
        session.take_log(world.coordinator.log_part_for(name))  # once more: nothing is lacking
        assert log_of(world, name).read_bytes() == whole


def test_a_part_that_is_not_of_the_checkpoint_held_is_refused(world: World) -> None:
    play(world, "abc")
    session, part = world.sessions["a"], world.coordinator.log_part_for("a")
    before, copy = session.state, log_of(world, "a").read_bytes()
    other = frame(LyingEnclave(world.manifest).release())
    for wrong in (
        replace(part, entries=b""),
        replace(part, entries=part.entries[:-1] + bytes([part.entries[-1] ^ 1])),
        replace(part, first=part.first + 1),
    ):
        with pytest.raises(EnclaveRefused, match="not shown to go on"):
            session.take_log(wrong)
    for damaged in (part.entries[:-1], b"\x00\x00\x00\x00", b"what is this?"):
        with pytest.raises(MalformedMessage):
            session.take_log(replace(part, entries=damaged))
    # A host that has lost count brings what begins too late: there is nothing to be said about it.
    session.take_log(LogPart(first=session.state.log_size + 1, entries=other))
    assert session.state == before
    assert log_of(world, "a").read_bytes() == copy


def test_power_lost_between_copy_and_state_costs_nothing(world: World) -> None:
    play(world, "abc")
    store = world.stores["a"]
    assert isinstance(store, OnDisk)
    world.open()
    store.fails = True
    with pytest.raises(OSError, match="no power"):
        world.accept("a")
    store.fails = False
    longer = store.log.read_bytes()
    session = world.sessions["a"] = world.session("a")
    assert len(longer) > session.state.log_bytes
    # Another history would be written over it; the same one is the same.
    world.submit("a", world.sealed("a", 1))
    assert store.log.read_bytes() == longer
    assert len(longer) == session.state.log_bytes


def test_a_copy_whose_end_is_missing_is_the_owners_to_put_back(world: World) -> None:
    play(world, "abc")
    play(world, "abc")
    log = log_of(world, "a")
    for cut in (-1, 0):
        others = log_of(world, "b").read_bytes()
        log.write_bytes(log.read_bytes()[:cut])
        world.open()
        before = world.sessions["a"].state
        with pytest.raises(ConfigurationError, match="its end is missing") as error:
            world.accept("a")
        assert "another member's folder" in error.value.hint
        assert world.sessions["a"].state == before
        log.write_bytes(others)
        world.accept("a")
        world.accept("b")
        world.coordinator.abort()
    assert log.read_bytes().startswith(others)


def test_a_client_that_joins_late_gets_all_of_the_log(world: World) -> None:
    for _ in range(3):
        play(world, "ab")
    world.open()
    world.accept("c")
    assert log_of(world, "c").read_bytes()[:4] == MAGIC
    assert world.sessions["c"].state.log_size == world.announcement.checkpoint.size == 13


def test_hello_says_how_long_the_copy_is_and_hardly_more_is_sent(world: World) -> None:
    for _ in range(3):
        play(world, "abc")
    assert world.sessions["a"].hello(now()).log_size == 11
    offers = world.open()
    assert world.announcement.checkpoint.size == 16
    assert offers["a"].log.first == 8  # where its length is a power of two
    assert offers["a"].log is offers["b"].log  # one object for all who lack the same


def test_another_enclaves_log_begins_a_new_file(tmp_path: Path) -> None:
    folder = ClientFolder(tmp_path)
    (tmp_path / "state.cbor").write_bytes(b"old")
    folder.save_log(frame(b"old"), len(MAGIC))
    folder.save_checkpoint(b"old note")
    folder.forget_chain()
    folder.save_log(frame(b"new"), len(MAGIC))
    (note,) = tmp_path.glob("checkpoint*")
    assert (note.read_bytes(), note.name != "checkpoint") == (b"old note", True)
    kept = next(tmp_path.glob("log-*.fel"))
    assert kept.read_bytes() == MAGIC + frame(b"old")
    assert (tmp_path / LOG_FILE).read_bytes() == MAGIC + frame(b"new")
