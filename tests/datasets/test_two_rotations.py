"""Two that change a dataset at once, in the orders of their calls; and the lock between them."""

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedenclave.datasets.errors import DatasetBusy, StorageFailed
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.rotate import reencrypt, rewrap
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.protocol.errors import FedEnclaveError
from tests.datasets.faults import Hook, Hooked, SteadyKeys, Turns, orders
from tests.datasets.small_datasets import OPERATIONS, OPTIONS, Bucket, Folders, is_whole

STORE_CALLS = ("create", "delete", "names", "put", "read", "reader")


def rotations(
    order: Sequence[int],
    stores: Callable[[int, Hook], Any],
    pair: tuple[str, str],
    keys: SteadyKeys,
    small: Path,
) -> tuple[Turns, list[str]]:
    """Let two rotations go by turns in that order; return what came of each."""
    turns, ends = Turns(order), ["", ""]

    def work(who: int) -> None:
        try:
            OPERATIONS[pair[who]](stores(who, turns.hook(who)), keys, small)
            ends[who] = "done"
        except DatasetBusy:
            ends[who] = "busy"
        except FedEnclaveError as error:
            ends[who] = repr(error)

    turns.run([lambda: work(0), lambda: work(1)])
    return turns, ends


PAIRS = [("rewrap", "reencrypt"), ("reencrypt", "reencrypt"), ("rewrap", "rewrap")]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("kind", ["folder", "objects"])
def test_two_rotations_at_once_destroy_nothing_in_any_order_of_their_calls(
    kind: str, pair: tuple[str, str], tmp_path: Path, small: Path, keys: SteadyKeys
) -> None:
    folders = Folders(tmp_path, small, keys)
    seen: set[tuple[str, ...]] = set()

    def run(order: Sequence[int]) -> Turns:
        folder, bucket = folders.fresh(sealed=True), Bucket("turns")
        if kind == "objects":
            seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)

        def plain_store() -> Any:
            return LocalStore(folder) if kind == "folder" else bucket.store()

        turns, ends = rotations(
            order,
            lambda who, hook: Hooked(plain_store(), hook, STORE_CALLS),
            pair,
            keys,
            small,
        )
        assert is_whole(plain_store(), keys), (order, ends)
        assert set(ends) <= {"done", "busy"}, (order, ends)
        assert "done" in ends, order
        assert len(plain_store().names()) == 3
        seen.add(tuple(ends))
        return turns

    assert orders(run) > 5
    # They did meet: one was refused in some orders, and both went through in others.
    assert {("done", "done"), ("done", "busy"), ("busy", "done")} <= seen


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_two_rotations_of_objects_destroy_nothing_in_any_order_of_their_requests(
    pair: tuple[str, str], small: Path, keys: SteadyKeys
) -> None:
    """The lock's own requests go by turns, too; the orders with up to two switches."""

    def run(order: Sequence[int]) -> Turns:
        bucket = Bucket("requests")
        seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)
        turns, ends = rotations(order, lambda who, hook: bucket.store(hook), pair, keys, small)
        assert is_whole(bucket.store(), keys), (order, ends)
        assert set(ends) <= {"done", "busy"}, (order, ends)
        assert len(bucket.store().names()) == 3
        return turns

    assert orders(run, switches=2) > 50


def test_a_lock_that_was_taken_away_stops_its_holder_before_the_head(
    small: Path, keys: SteadyKeys
) -> None:
    bucket = Bucket("unlocked")
    seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)

    def meanwhile(done: int) -> None:
        assert bucket.store().unlock()
        rewrap(bucket.store(), keys, "node")

    options = Options(clock=lambda: 1000.0, threads=1, progress=meanwhile)
    with pytest.raises(DatasetBusy):
        reencrypt(bucket.store(), keys, "node", options)
    assert is_whole(bucket.store(), keys)


def test_a_head_that_was_replaced_past_the_lock_is_not_replaced(
    tmp_path: Path, small: Path, keys: SteadyKeys
) -> None:
    folder = Folders(tmp_path, small, keys).fresh(sealed=True)
    (tmp_path / "other").mkdir()
    other = Folders(tmp_path / "other", small, keys).template

    def meanwhile(done: int) -> None:
        shutil.copytree(other, folder, dirs_exist_ok=True)

    options = Options(clock=lambda: 1000.0, threads=1, progress=meanwhile)
    with pytest.raises(DatasetBusy, match="replaced meanwhile"):
        reencrypt(LocalStore(folder), keys, "node", options)
    assert (folder / HEAD).read_bytes() == (other / HEAD).read_bytes()
    assert is_whole(LocalStore(folder), keys)
    assert not (folder / ".lock").exists()


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path, small: Path, keys: SteadyKeys) -> None:
    folder = Folders(tmp_path, small, keys).fresh(sealed=True)
    os.mkfifo(folder / ".lock")
    with pytest.raises(StorageFailed, match="it is no file"):
        rewrap(LocalStore(folder), keys, "node")
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFailed, match="cannot lock"):
        rewrap(LocalStore(folder), keys, "node")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("made_again", [False, True])
def test_a_lock_file_that_is_deleted_while_it_is_being_locked_is_none(
    tmp_path: Path, small: Path, keys: SteadyKeys, monkeypatch: pytest.MonkeyPatch, made_again: bool
) -> None:
    """Its holder deletes it between another's opening and locking it; a third makes it anew."""
    folder = Folders(tmp_path, small, keys).fresh(sealed=True)
    really, locked = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        locked.append(descriptor)
        if len(locked) == 1:
            (folder / ".lock").unlink()
            if made_again:
                (folder / ".lock").touch()
        really(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with LocalStore(folder).changing():
        assert len(locked) == 2
        assert (folder / ".lock").exists()
        with pytest.raises(DatasetBusy):
            rewrap(LocalStore(folder), keys, "node")
    rewrap(LocalStore(folder), keys, "node")
    assert not (folder / ".lock").exists()
