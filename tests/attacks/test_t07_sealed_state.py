"""T7: the operator changes, mixes, or winds back the state that the enclave has sealed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fedenclave.attack_suite.world import payload_of
from fedenclave.protocol import segment
from fedenclave.protocol.errors import EnclaveRefused, Reason, Refusal, RequestRefused
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World


def newest(world: World) -> Path:
    return max((world.folder / "state").glob("*.fes"))


def entries(data: bytes) -> list[bytes]:
    return [entry.data for entry in segment.entries(data)]


def joined(parts: list[bytes]) -> bytes:
    return segment.MAGIC + b"".join(map(segment.frame, parts))


def flipped(part: bytes, at: int) -> bytes:
    return part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]


def test_host_changing_the_sealed_state_gets_no_enclave(world: World) -> None:
    """One change of each kind, live; every other kind: `tests/enclave/test_journal.py`."""
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    status = world.status()
    world.close()
    path = newest(world)
    right = path.read_bytes()
    parts = entries(right)
    for wrong in (joined([*parts[:3], *parts[4:]]), joined([parts[0], flipped(parts[1], 40)]), b""):
        path.write_bytes(wrong)
        with pytest.raises(RequestRefused) as refused:
            world.start()
        assert refused.value.refusal is Refusal.STATE
    path.write_bytes(right)
    world.resume()
    assert world.status() == status


def test_an_entry_that_was_cut_off_counts_as_never_written(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    before = world.status()
    sealed = world.sealed("c", 1)
    assert world.submit("c", sealed).admitted
    world.close()
    path = newest(world)
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    world.resume()
    assert world.status() == before
    assert len(path.read_bytes()) < len(right)
    assert world.submit("c", sealed).admitted
    # What was cut off is gone, and what came after it is not behind the rest of it.
    for _ in range(2):
        world.close()
        world.resume()
        assert world.status().admitted == 3
    assert world.release("abc")[0].clients == 3


def test_host_winding_the_state_back_is_refused_by_every_client_that_has_seen_more(
    world: World, tmp_path: Path
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    old = tmp_path / "old"
    shutil.copytree(world.folder, old)
    world.release("abc")
    world.open()
    seen = world.announcement.checkpoint
    world.close()
    # The round as it was before its release: the operator means to leave b out, and to subtract.
    shutil.rmtree(world.folder)
    shutil.copytree(old, world.folder)
    world.resume()
    assert world.status().state == "collecting"
    world.aggregator.abort_round()
    world.open()
    for name in "abc":
        before = world.sessions[name].state
        with pytest.raises(EnclaveRefused, match="not shown to go on from the 6 that"):
            world.accept(name)
        assert world.sessions[name].state == before
    # Nor does the enclave count an update of a client that has been where it has not.
    answer = world.aggregator.submit([world.forge("a", payload_of(1), checkpoint=seen)])
    assert answer.reason == Reason.ENCLAVE_OLDER_THAN_CLIENT.value


def test_an_old_segment_beside_the_newest_model_is_refused(world: World, tmp_path: Path) -> None:
    for _ in range(2):
        world.open()
        world.contribute({"a": 1, "b": 1, "c": 1})
        world.release("abc")
    world.close()
    path = newest(world)
    kept = path.read_bytes()
    path.write_bytes((world.folder / "state" / "segment-00000002.fes").read_bytes())
    with pytest.raises(RequestRefused) as refused:
        world.start()
    assert refused.value.refusal is Refusal.WRONG_MODEL
    path.write_bytes(kept)
    world.start()
    assert world.status().round == 2


def test_host_giving_one_federation_the_state_of_another_gets_no_enclave(
    world: World, new_world: NewWorld
) -> None:
    other = new_world()
    for each in (world, other):
        each.open()
        each.close()
    right = newest(world).read_bytes()
    mine, theirs = entries(right), entries(newest(other).read_bytes())
    for mixed in (theirs, [mine[0], *theirs[1:]], [theirs[0], *mine[1:]], [*mine[:2], theirs[2]]):
        newest(world).write_bytes(joined(mixed))
        with pytest.raises(RequestRefused) as refused:
            world.start()
        assert refused.value.refusal is Refusal.STATE
    newest(world).write_bytes(right)
    world.start()
    other.start()
