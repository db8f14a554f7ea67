"""Whatever is interrupted, wherever: the dataset opens with the keys at hand, with all its files.

Each storage call of a seal, a re-wrapping and a re-encryption is hit once before and once after it
takes effect: by an error of the disk or the network, by one that lasts, by Ctrl-C, by SIGKILL. And
two rotations at once go through the orders of their calls.
"""

import fcntl
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec")

from fedenclave.datasets.errors import (
    DatasetBusy,
    DatasetExists,
    HeadUnsettled,
    StorageFailed,
)
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.reader import open_dataset
from fedenclave.datasets.remote_store import RemoteStore
from fedenclave.datasets.rotate import reencrypt, rewrap
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.verify import verify
from fedenclave.datasets.writer import Options, seal
from fedenclave.protocol.errors import FedEnclaveError
from tests.datasets.conftest import write_files
from tests.datasets.faults import (
    OBJECT_CALLS,
    Calls,
    Fault,
    Hook,
    Hooked,
    SteadyKeys,
    Turns,
    hooked_os,
    orders,
)

FILES = {"a": b"abc" * 1000, "b": b""}
OPTIONS = Options(clock=lambda: 1000.0, threads=1)
INTERRUPT = Fault("interrupt", KeyboardInterrupt)
DISK = Fault("disk", lambda: OSError(5, "Input/output error"))
DISK_GONE = Fault("disk-gone", lambda: OSError(5, "Input/output error"), lasts=True)
NETWORK = Fault("network", lambda: TimeoutError("read timeout on endpoint URL"))
NETWORK_GONE = Fault("network-gone", lambda: TimeoutError("no route to host"), lasts=True)
KILL = Fault("kill", None)

OPERATIONS: dict[str, Callable[[Any, SteadyKeys, Path], object]] = {
    "seal": lambda store, keys, plain: seal(LocalFiles(plain), store, keys, "node", OPTIONS),
    "rewrap": lambda store, keys, plain: rewrap(store, keys, "node"),
    "reencrypt": lambda store, keys, plain: reencrypt(store, keys, "node", OPTIONS),
}
EXPECTED = (FedEnclaveError, KeyboardInterrupt, OSError, TimeoutError)


@pytest.fixture
def keys() -> SteadyKeys:
    return SteadyKeys()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_files(tmp_path / "small", FILES)


def is_whole(store: LocalStore | RemoteStore, keys: SteadyKeys) -> bool:
    with open_dataset(store, keys) as dataset:
        return (
            verify(dataset).problems == []
            and {name: bytes(dataset.read(name)) for name in dataset.members} == FILES
        )


class Folders:
    """Datasets in folders: a fresh one for each fault, from one that was sealed once."""

    def __init__(self, base: Path, small: Path, keys: SteadyKeys) -> None:
        self._base, self._made = base, 0
        self.template = base / "template"
        seal(LocalFiles(small), LocalStore(self.template), keys, "node", OPTIONS)

    def fresh(self, *, sealed: bool) -> Path:
        self._made += 1
        folder = self._base / str(self._made)
        if sealed:
            shutil.copytree(self.template, folder)
        return folder


def in_a_child(work: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    os.waitpid(child, 0)


def faulty(
    operation: str, folder: Path, keys: SteadyKeys, small: Path, calls: Calls
) -> BaseException | None:
    try:
        with hooked_os(calls):
            OPERATIONS[operation](LocalStore(folder), keys, small)
    except EXPECTED as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("fault", [DISK, DISK_GONE, INTERRUPT, KILL], ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_folder_is_readable_whatever_call_fails(
    operation: str, fault: Fault, tmp_path: Path, small: Path, keys: SteadyKeys
) -> None:
    folders = Folders(tmp_path, small, keys)
    keys.newest = 2
    sealed = operation != "seal"
    whole = Calls()
    assert faulty(operation, folders.fresh(sealed=sealed), keys, small, whole) is None
    assert {"open", "fsync", "unlink"} <= set(whole.names)
    for at in range(len(whole.names)):
        for after in (False, True):
            folder = folders.fresh(sealed=sealed)
            calls = Calls(at=at, after=after, fault=fault)
            if fault is KILL:
                in_a_child(lambda f=folder, c=calls: faulty(operation, f, keys, small, c))
            else:
                faulty(operation, folder, keys, small, calls)
            where = f"{whole.names[at]} at {at}, {'after' if after else 'before'}"
            if sealed or (folder / HEAD).exists():
                assert is_whole(LocalStore(folder), keys), where
            # And nobody is locked out: it is done by calling again.
            if sealed:
                OPERATIONS[operation](LocalStore(folder), keys, small)
                assert is_whole(LocalStore(folder), keys), where
            elif not (folder / HEAD).exists():
                seal(LocalFiles(small), LocalStore(folder), keys, "node", OPTIONS)
            shutil.rmtree(folder)


@pytest.mark.parametrize("operation", ["rewrap", "reencrypt"])
def test_a_sync_that_fails_after_the_rename_keeps_both_and_says_so(
    operation: str, tmp_path: Path, small: Path, keys: SteadyKeys
) -> None:
    folders = Folders(tmp_path, small, keys)
    whole = Calls()
    faulty(operation, folders.fresh(sealed=True), keys, small, whole)
    renamed = whole.names.index("replace")
    sync = whole.names.index("fsync", renamed)
    folder = folders.fresh(sealed=True)
    before = {path.name for path in folder.iterdir()}
    error = faulty(operation, folder, keys, small, Calls(at=sync, after=False, fault=DISK))
    assert isinstance(error, HeadUnsettled)
    assert "keep the keys of both" in error.message
    assert before <= {path.name for path in folder.iterdir()}
    assert (folder / HEAD).read_bytes() != (folders.template / HEAD).read_bytes()


class Bucket:
    """Datasets in fsspec's memory, through a hook."""

    made = 0

    def __init__(self, name: str) -> None:
        Bucket.made += 1
        self.url = f"memory://{name}-{Bucket.made}/x"

    def store(self, hook: Hook | None = None) -> RemoteStore:
        store = RemoteStore(self.url)
        if hook is not None:
            store._system = Hooked(store._storage(), hook, OBJECT_CALLS)
        return store


@pytest.mark.parametrize("fault", [NETWORK, NETWORK_GONE, INTERRUPT], ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_object_storage_is_readable_whatever_call_fails(
    operation: str, fault: Fault, small: Path, keys: SteadyKeys
) -> None:
    def attempt(calls: Calls) -> Bucket:
        bucket = Bucket("faults")
        if operation != "seal":
            seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)
        keys.newest = 2
        try:
            OPERATIONS[operation](bucket.store(calls), keys, small)
        except EXPECTED:
            assert calls.fault is not None
        keys.newest = 1
        return bucket

    whole = Calls()
    attempt(whole)
    assert {"open", "close"} <= set(whole.names) or operation == "rewrap"
    assert whole.names.count("pipe_file") == (1 if operation == "seal" else 2)
    for at in range(len(whole.names)):
        for after in (False, True):
            store = attempt(Calls(at=at, after=after, fault=fault)).store()
            where = f"{whole.names[at]} at {at}, {'after' if after else 'before'}"
            if operation != "seal" or HEAD in store.names():
                assert is_whole(store, keys), where
            if operation != "seal":
                store.unlock()
                OPERATIONS[operation](store, keys, small)
                assert is_whole(store, keys), where


class LosesAnswers:
    """Takes what is put, and says that it does not know; or is asked again, and refuses."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, name: str, really: Callable[[], Any]) -> Any:
        result = really()
        if name == "pipe_file":
            raise self._error
        return result


@pytest.mark.parametrize("error", [TimeoutError("read timeout"), FileExistsError("412")])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_lost_answer_is_looked_up(
    operation: str, error: BaseException, small: Path, keys: SteadyKeys
) -> None:
    bucket = Bucket("lost")
    if operation != "seal":
        seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)
    OPERATIONS[operation](bucket.store(LosesAnswers(error)), keys, small)
    assert is_whole(bucket.store(), keys)
    assert len(bucket.store().names()) == 3


def test_a_head_that_may_still_arrive_finds_its_objects(small: Path, keys: SteadyKeys) -> None:
    bucket = Bucket("late")
    seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)
    late: list[Callable[[], Any]] = []

    def hook(name: str, really: Callable[[], Any]) -> Any:
        if name == "pipe_file" and (args := getattr(really, "args", ())) and "/head" in args[0]:
            late.append(really)
            raise TimeoutError("read timeout")
        return really()

    with pytest.raises(HeadUnsettled, match="nothing was deleted"):
        reencrypt(bucket.store(hook), keys, "node", OPTIONS)
    assert is_whole(bucket.store(), keys)
    before = bucket.store().read(HEAD, 1 << 16)
    late[0]()
    assert bucket.store().read(HEAD, 1 << 16) != before
    assert is_whole(bucket.store(), keys)


def test_of_two_seals_into_a_storage_the_later_one_gives_way_and_cleans_up(
    small: Path, keys: SteadyKeys
) -> None:
    bucket = Bucket("two")

    def meanwhile(done: int) -> None:
        seal(LocalFiles(small), bucket.store(), keys, "node", OPTIONS)

    options = Options(clock=lambda: 1000.0, threads=1, progress=meanwhile)
    with pytest.raises(DatasetExists):
        seal(LocalFiles(small), bucket.store(), keys, "node", options)
    assert len(bucket.store().names()) == 3
    assert is_whole(bucket.store(), keys)


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
