"""An aggregator that is started again in its folder goes on where it was."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.attack_suite.world import payload_of
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.host.journal import StateUnwritten
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.errors import ConfigurationError, Reason, Refusal, RequestRefused
from fedenclave.protocol.frames import Empty, Operation
from fedenclave.protocol.log_file import frame
from fedenclave.protocol.signing import Signed
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of


def one_round(world: World, steps: dict[str, float]) -> None:
    world.open()
    world.contribute(steps)
    world.release("".join(steps))


def killed(world: World) -> None:
    """End the enclave without a word."""
    os.kill(world.aggregator.enclave_pid, signal.SIGKILL)
    world.close()


def test_restarted_between_rounds_it_has_the_same_key_log_and_model(world: World) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    before = world.aggregator.info()[2], world.aggregator.leaves(0), world.model()
    status = world.status()
    releases = world.aggregator.releases()
    world.restart()
    # Nothing but that it was ended.
    leaves = world.aggregator.leaves(0)
    assert (world.aggregator.info()[2], leaves[:-1], world.model()) == before
    assert world.status() == replace(status, log_size=status.log_size + 1)
    assert world.aggregator.releases() == releases
    # The clients go on with it: no other enclave, no shorter log.
    one_round(world, {"a": 1, "b": 1, "c": 1})
    assert value_of(world.model()) == 2.5
    assert len(world.stores["a"].receipts) == 2


def test_killed_in_an_open_round_it_releases_what_was_admitted(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 3})
    last = world.sealed("c", 5)
    before = world.status()
    os.kill(world.aggregator.enclave_pid, signal.SIGKILL)
    with pytest.raises(EnclaveDied):
        world.submit("c", last)
    world.close()
    world.resume()  # the ServerApp lives on, and asks again
    assert world.status() == before
    assert world.submit("c", last).admitted
    release, receipts = world.release("abc")
    assert (release.clients, value_of(world.model())) == (3, 3.5)
    assert receipts["a"].clients == ("a", "b", "c")


def test_a_serverapp_that_ended_with_its_aggregator_has_its_round_aborted(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 3})
    world.sealed("c", 1)
    world.restart()  # a new coordinator with it
    assert world.status().state == "idle"
    # Who had sealed for it learns of its end from the new one.
    (deliveries,) = world.coordinator.deliveries_before()
    verdicts = {n: world.sessions[n].take_delivery(deliveries[n]).verdict for n in "abc"}
    assert verdicts == {"a": "round aborted", "b": "round aborted", "c": "left out"}
    one_round(world, {"a": 1, "b": 1, "c": 1})
    assert world.status().round == 2


def test_the_same_update_after_a_restart_gets_its_admission_again_and_another_none(
    world: World,
) -> None:
    world.open()
    sealed = world.sealed("a", 1)
    first = world.aggregator.submit([sealed])
    other = world.forge("a", payload_of(2))
    world.close()
    world.resume()
    log_size = world.status().log_size
    assert world.aggregator.submit([sealed]) == first
    assert world.status().log_size == log_size
    assert world.aggregator.submit([other]).reason == Reason.REPLAYED.value
    assert world.status().admitted == 1


def test_the_differencing_guard_remembers_over_a_restart(new_world: NewWorld) -> None:
    world = new_world({"a": "alpha", "b": "beta", "c": "gamma", "d": "delta"})
    one_round(world, {"a": 0, "b": 0, "c": 0})
    assert value_of(world.model()) == 0.5  # the same base model once more
    world.restart()
    world.open()
    world.contribute({"a": 1, "b": 1})
    with pytest.raises(RequestRefused) as refused:
        world.coordinator.close()
    assert refused.value.refusal is Refusal.DIFFERENCING


def test_ciphertext_that_is_lost_is_set_aside_and_said_so(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    sealed = world.sealed("c", 9)
    assert world.submit("c", sealed).admitted
    world.close()
    world.stored(sealed).unlink()
    world.resume()
    release, receipts = world.release("abc")
    assert release.clients == 2
    assert receipts["c"].verdict == "set aside"
    assert value_of(world.model()) == 1.5


def test_another_file_is_attached_to_no_update(world: World, tmp_path: Path) -> None:
    world.open()
    sealed = world.sealed("a", 1)
    assert world.submit("a", sealed).admitted
    world.close()
    world.stored(sealed).rename(tmp_path / "kept")
    world.resume()
    other = tmp_path / "other"
    other.write_bytes(world.sealed("b", 1))
    for path in (other, tmp_path / "nothing"):
        path.touch()
        descriptor = os.open(path, os.O_RDONLY)
        with pytest.raises(RequestRefused) as refused:
            world.aggregator._enclave.request(Operation.ATTACH, Empty(), Empty, [descriptor])
        os.close(descriptor)
        assert refused.value.refusal is Refusal.STORAGE
    right = os.open(tmp_path / "kept", os.O_RDONLY)
    world.aggregator._enclave.request(Operation.ATTACH, Empty(), Empty, [right])
    with pytest.raises(RequestRefused):
        world.aggregator._enclave.request(Operation.ATTACH, Empty(), Empty, [right])
    os.close(right)
    assert world.submit("b", world.forge("b", payload_of(1))).admitted
    world.release("a")


def test_old_segments_are_deleted_and_the_one_before_is_kept(world: World) -> None:
    for _ in range(4):
        one_round(world, {"a": 1, "b": 1, "c": 1})
    segments = sorted(path.name for path in (world.folder / "state").iterdir())
    assert segments == ["segment-00000004.fes", "segment-00000005.fes"]


def test_a_log_that_was_cut_off_is_written_again_and_one_that_is_gone_is_asked_for(
    world: World,
) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    path = world.folder / "statements.fel"
    world.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    world.start()
    assert path.read_bytes() == whole
    kinds = [Signed.from_bytes(s).type for s in world.aggregator._statements.statements()]
    assert kinds == ["start", "announcement", *["admission"] * 3, "release", "shutdown"]
    killed(world)
    path.unlink()
    with pytest.raises(ConfigurationError, match="the log has 0 statements"):
        world.start()
    # Another log of as many statements is not taken for this one, nor longer ones.
    path.write_bytes(whole + frame(b"x" * 40))
    world.start()
    assert path.read_bytes() == whole
    killed(world)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ConfigurationError, match="are not those that the enclave signed"):
        world.start()
    path.write_bytes(whole)
    world.start()
    assert world.status().log_size == 7


def test_another_manifests_folder_is_refused_and_stays_what_it_was(
    world: World, new_world: NewWorld
) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    world.close()
    other = new_world()
    other.close()
    before = {p: p.read_bytes() for p in (world.folder / "state").iterdir()}
    other.folder = world.folder
    with pytest.raises(RequestRefused) as refused:
        other.start()
    assert refused.value.refusal is Refusal.STATE
    assert {p: p.read_bytes() for p in (world.folder / "state").iterdir()} == before
    world.start()
    assert world.status().round == 1
    other.folder = world.folder / "elsewhere"
    other.folder.mkdir()
    other.start()


def test_a_full_disk_refuses_before_the_enclave_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    before = world.status()
    with monkeypatch.context() as patch:
        patch.setattr("fedenclave.host.journal._room", lambda _: 1000)
        with pytest.raises(StateUnwritten, match="1000 bytes of room") as refused:
            world.submit("a", sealed["a"])
        assert "nothing has changed" in refused.value.hint
        assert world.status() == before
    for name, update in sealed.items():
        assert world.submit(name, update).admitted
    world.release("abc")


def test_a_disk_that_fails_all_the_same_stops_everything_until_a_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    world.open()
    sealed = world.sealed("a", 1)
    with monkeypatch.context() as patch:
        patch.setattr("fedenclave.host.journal._write_all", failing)
        with pytest.raises(StateUnwritten, match="No space left"):
            world.submit("a", sealed)
    # The enclave has admitted it, and nobody may learn of that: nor of anything after it.
    with pytest.raises(StateUnwritten, match="No space left"):
        world.submit("b", world.sealed("b", 1))
    world.close()
    world.resume()
    assert world.status().admitted == 0
    assert world.submit("a", sealed).admitted
    RoundCoordinator(world.aggregator, send_manifest=True)
    assert world.status().state == "idle"


def test_a_log_of_an_enclave_whose_state_is_gone_is_kept_beside_the_new_one(world: World) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    path = world.folder / "statements.fel"
    old = path.read_bytes()
    killed(world)
    world.restart(state=False)
    (kept,) = world.folder.glob("statements-*.fel")
    assert kept.read_bytes() == old
    assert world.status().log_size == len(world.aggregator.leaves(0)) == 1


def test_a_damaged_log_is_said_and_stays_as_it_is(world: World) -> None:
    one_round(world, {"a": 1, "b": 1, "c": 1})
    world.close()
    path = world.folder / "statements.fel"
    right = path.read_bytes()
    path.write_bytes(b"FEL2" + right[4:])
    with pytest.raises(ConfigurationError, match=r"statements\.fel is damaged"):
        world.start()
    assert path.read_bytes() == b"FEL2" + right[4:]
    path.write_bytes(right)
    world.start()
