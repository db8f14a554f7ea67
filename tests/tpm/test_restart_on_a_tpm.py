"""An enclave on a TPM that is started again: where it may go on, and where it may not."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.enclave.tpm import anchor, nv, pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.segment import SegmentHead, entries
from tests.attacks.world import value_of
from tests.tpm.probe import undefine
from tests.tpm.swtpm import SoftwareTpm
from tests.tpm.world import TpmWorld, reference_values


@pytest.fixture
def world(tmp_path: Path, tpm: SoftwareTpm) -> Iterator[TpmWorld]:
    (tmp_path / "host").mkdir()
    world = TpmWorld(tmp_path / "host", tpm)
    yield world
    world.close()


def play(world: TpmWorld) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")


def value(world: TpmWorld) -> bytes:
    with connected(world.tpm.path) as tpm:
        return anchor.read(tpm)


def refused(world: TpmWorld) -> Refusal:
    with pytest.raises(RequestRefused) as error:
        world.start()
    return error.value.refusal


def test_the_same_machine_goes_on_also_after_a_reboot_and_in_an_open_round(
    world: TpmWorld,
) -> None:
    play(world)
    key = world.aggregator.info()[2].signing_key
    world.close()
    world.tpm.reboot()
    world.start()
    assert world.aggregator.info()[2].signing_key == key
    assert world.aggregator.info()[2].sealing == "tpm"
    world.open()
    world.contribute({"a": 1, "b": 1})
    os.kill(world.aggregator.enclave_pid, signal.SIGKILL)
    world.close()
    world.resume()
    assert world.release("ab")[0].clients == 2
    assert value_of(world.model()) == 2.5


def test_nothing_of_the_state_lies_open(world: TpmWorld) -> None:
    world.open()
    world.contribute({"a": 1})
    round_ = max((world.folder / "state").iterdir()).read_bytes()
    head = SegmentHead.from_bytes(next(entries(round_)).data)
    assert head.sealer == "tpm"
    assert world.aggregator.info()[2].signing_key not in round_
    assert b"insecure" not in round_


def test_every_opening_and_end_of_a_round_is_settled_before_its_model_leaves(
    world: TpmWorld,
) -> None:
    values = [value(world)]
    world.open()
    world.contribute({"a": 1, "b": 1})
    values.append(value(world))
    world.aggregator._close()
    values.append(value(world))
    world.aggregator._fetch()
    values.append(value(world))
    assert values[1] == values[2]  # the release is settled with what follows, and told only then
    assert len(set(values)) == 3
    assert all(len(each) == 32 for each in values)


def test_a_round_that_was_closed_is_not_closed_again_without_one_client(
    world: TpmWorld, tmp_path: Path
) -> None:
    """T5 by way of T7: two ends of one round, sealed from one state, and their difference."""
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 7})
    before, ended = tmp_path / "before", tmp_path / "ended"
    shutil.copytree(world.folder, before)
    world.aggregator._close()  # sealed, and not told yet
    shutil.copytree(world.folder, ended)
    os.kill(world.aggregator.enclave_pid, signal.SIGKILL)  # asked to end it would settle that
    world.close()

    def put_back(kept: Path) -> None:
        shutil.rmtree(world.folder)
        shutil.copytree(kept, world.folder)

    put_back(before)
    (world.folder / "ciphertext" / _of_c(world)).unlink()
    world.resume()
    result, _ = world.coordinator.close()
    assert value_of(Model.from_bytes(result.model)) == 1.5  # without c
    world.close()
    put_back(ended)
    assert refused(world) is Refusal.ROLLED_BACK


def _of_c(world: TpmWorld) -> str:
    """Return the name of the file with c's update."""
    for path in (world.folder / "ciphertext").glob("*.feu"):
        if read_envelope(memoryview(path.read_bytes())).unverified_header().client == "c":
            return path.name
    raise AssertionError("c's update is not there")


def test_nothing_of_a_model_leaves_before_its_release_is_counted(world: TpmWorld) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.aggregator._close()
    with connected(world.tpm.path) as tpm:
        anchor.extend(tpm, bytes(32))
    with pytest.raises(RequestRefused) as error:
        world.aggregator._fetch()
    assert error.value.refusal is Refusal.ROLLED_BACK
    models = world.folder / "models"
    assert world.aggregator._models.newest == models / "round-0.fem"
    payload = (models / "next.partial").read_bytes()[len(world.aggregator._models.head) :]
    assert not any(payload)


def test_a_state_from_before_the_release_is_refused(world: TpmWorld, tmp_path: Path) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    old = tmp_path / "old"
    shutil.copytree(world.folder, old)
    world.release("abc")
    world.close()
    newest = tmp_path / "newest"
    shutil.copytree(world.folder, newest)
    for kept, refusal in ((old, Refusal.ROLLED_BACK), (newest, None)):
        shutil.rmtree(world.folder)
        shutil.copytree(kept, world.folder)
        if refusal is None:
            world.start()
        else:
            assert refused(world) is refusal
    play(world)


def test_another_machine_another_boot_and_moved_registers_open_nothing(
    world: TpmWorld, other_tpm: SoftwareTpm
) -> None:
    play(world)
    world.close()
    own = world.tpm
    reference_values(other_tpm)  # which establishes its counter
    world.tpm = other_tpm
    assert refused(world) is Refusal.STATE
    world.tpm = own
    own.reboot()
    with connected(own.path) as tpm:
        pcrs.extend(tpm, 9, bytes([1] * 32))
    assert refused(world) is Refusal.STATE
    own.reboot()
    world.start()
    play(world)


def test_somebody_else_extending_the_register_stops_the_enclave_and_opens_nothing(
    world: TpmWorld,
) -> None:
    play(world)
    with connected(world.tpm.path) as tpm:
        anchor.extend(tpm, bytes(32))
    with pytest.raises(RequestRefused) as error:
        world.open()
    assert error.value.refusal is Refusal.ROLLED_BACK
    world.close()
    assert refused(world) is Refusal.ROLLED_BACK


def test_removing_the_register_brings_no_older_state_back(world: TpmWorld, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(world.folder, old)
    play(world)
    world.close()
    for define_again in (False, True):
        with connected(world.tpm.path) as tpm:
            undefine(tpm, anchor.INDEX)
            if define_again:
                anchor.establish(tpm)
        assert refused(world) is Refusal.ROLLED_BACK
        if not define_again:
            with connected(world.tpm.path) as tpm:
                anchor.establish(tpm)
    shutil.rmtree(world.folder)
    shutil.copytree(old, world.folder)
    assert refused(world) is Refusal.ROLLED_BACK


def test_an_index_of_somebody_elses_is_not_taken_for_the_register(tpm: SoftwareTpm) -> None:
    other = nv.NvPublic(
        index=anchor.INDEX,
        algorithm=0x000B,
        attributes=1 << 1 | 1 << 2 | 1 << 17 | nv.AUTH_READ,
        policy=b"",
        size=32,
        name=b"",
    )
    with connected(tpm.path) as connection:
        nv.define(connection, other)
        with pytest.raises(TpmError, match="not the register"):
            anchor.establish(connection)
        undefine(connection, anchor.INDEX)
        assert anchor.read(connection) == b""
        anchor.establish(connection)
        before = anchor.read(connection)
        assert anchor.extend(connection, b"m" * 32) == hashlib.sha256(before + b"m" * 32).digest()
        anchor.establish(connection)
        assert anchor.read(connection) == hashlib.sha256(before + b"m" * 32).digest()
