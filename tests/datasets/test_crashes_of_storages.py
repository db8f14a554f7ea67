"""Whatever is interrupted in an object storage, wherever: the dataset opens, whole.

Each request of a seal, a re-wrapping and a re-encryption is hit once before and once after it takes
effect: by an error of the network, by one that lasts, by Ctrl-C. And answers are lost or late.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedenclave.datasets.errors import DatasetExists, HeadUnsettled
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.rotate import reencrypt
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from tests.datasets.faults import INTERRUPT, Calls, Fault, SteadyKeys
from tests.datasets.small_datasets import EXPECTED, OPERATIONS, OPTIONS, Bucket, is_whole

NETWORK = Fault("network", lambda: TimeoutError("read timeout on endpoint URL"))
NETWORK_GONE = Fault("network-gone", lambda: TimeoutError("no route to host"), lasts=True)


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
