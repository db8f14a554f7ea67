"""The threads that share a pass: every chunk once, and one outcome whatever their number."""

from __future__ import annotations

import threading

import pytest

from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.enclave.workers import Workers


class ChunkError(Exception):
    """What the work on one chunk raises."""


@pytest.fixture(scope="module", params=[1, 2])
def workers(request: pytest.FixtureRequest) -> Workers:
    return Workers(SecretMemory(), count=request.param)


@pytest.mark.parametrize("chunks", [0, 1, 2, 501])
def test_every_chunk_is_worked_on_once_and_answered_in_order(workers: Workers, chunks: int) -> None:
    seen: list[int] = []

    def work(index: int, _: Scratch) -> int:
        seen.append(index)
        return index * index

    assert list(workers.each(chunks, work)) == [i * i for i in range(chunks)]
    assert sorted(seen) == list(range(chunks))


def test_two_threads_never_share_a_scratch() -> None:
    both = threading.Barrier(2, timeout=10)
    used: list[int] = []

    def work(_: int, scratch: Scratch) -> None:
        used.append(id(scratch))
        both.wait()

    Workers(SecretMemory(), count=2).each(2, work)
    assert len(set(used)) == 2


def test_the_lowest_failing_chunk_decides_also_where_a_later_one_fails_first() -> None:
    later_failed = threading.Event()

    def work(index: int, _: Scratch) -> None:
        if index == 3:
            # Held back until the other thread has failed on a later chunk.
            later_failed.wait(10)
            raise ChunkError(index)
        if index == 5:
            later_failed.set()
            raise ChunkError(index)

    with pytest.raises(ChunkError, match=r"^3$"):
        Workers(SecretMemory(), count=2).each(100, work)


def test_the_pool_works_on_after_a_failure(workers: Workers) -> None:
    def fail(index: int, _: Scratch) -> None:
        raise ChunkError(index)

    with pytest.raises(ChunkError, match=r"^0$"):
        workers.each(50, fail)
    assert list(workers.each(3, lambda i, _: i)) == [0, 1, 2]
