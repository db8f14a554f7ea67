"""An enclave on a TPM that is started again: where it may go on, and where it may not."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.enclave.tpm import counter, pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.segment import SegmentHead, entries
from tests.attacks.world import value_of
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


def count(world: TpmWorld) -> int:
    with connected(world.tpm.path) as tpm:
        return counter.read(tpm)


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


def test_every_opening_and_end_of_a_round_counts_before_its_model_leaves(world: TpmWorld) -> None:
    first = count(world)
    play(world)
    assert count(world) == first + 2
    world.open()
    world.contribute({"a": 1, "b": 1})
    assert count(world) == first + 2  # the opening is counted with what follows
    world.coordinator.abort()
    assert count(world) == first + 3
    world.open()
    assert count(world) == first + 4


def test_nothing_of_a_model_leaves_before_its_release_is_counted(world: TpmWorld) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    first = count(world)
    world.aggregator._close()
    assert count(world) == first + 1  # the opening; the end is on the disk, and not counted yet
    with connected(world.tpm.path) as tpm:
        counter.increment(tpm)
    with pytest.raises(RequestRefused) as error:
        world.aggregator._write_model()
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


def test_somebody_else_moving_the_counter_stops_the_enclave_and_opens_nothing(
    world: TpmWorld,
) -> None:
    play(world)
    with connected(world.tpm.path) as tpm:
        counter.increment(tpm)
    world.open()
    with pytest.raises(RequestRefused) as error:
        world.coordinator.abort()
    assert error.value.refusal is Refusal.ROLLED_BACK
    world.close()
    assert refused(world) is Refusal.ROLLED_BACK
