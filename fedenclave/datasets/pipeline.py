"""Chunks sealed by several threads, and given back in order.

Reading, hashing and AES-GCM let go of the interpreter's lock, so that threads share the work; what
is small enough to be written in one piece is one job. Buffers are made once: fresh memory costs
more than the encryption.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

from fedenclave.datasets.digest import leaf
from fedenclave.datasets.layout import CHUNK, TAG_SIZE, DatasetKeys, chunk_count, chunk_nonce
from fedenclave.datasets.source import Source, SourceFile

SPAN = 4 * CHUNK
"""Bytes of plaintext in a job: a call costs some 20 microseconds beside a chunk's 90."""

WAITING = 1
"""Jobs that wait for a thread, so that none waits for a job."""

J = TypeVar("J")
R = TypeVar("R")

_FILES_IN_JOB = 128
_BUFFER = SPAN + TAG_SIZE * (_FILES_IN_JOB + SPAN // CHUNK)


@dataclass(frozen=True, slots=True)
class Span:
    """Successive chunks of one file: its index, where they begin, how many bytes they are."""

    file: int
    offset: int
    size: int
    ends_file: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A job's result: its chunks one behind the other, and their leaves, span by span.

    `data` is good until the next result is asked for.
    """

    spans: Sequence[Span]
    data: memoryview
    leaves: Sequence[Sequence[bytes]]


@dataclass(slots=True)
class _Buffers:
    plain: memoryview
    sealed: memoryview


def default_threads() -> int:
    """Return how many threads are worth it: the cores this process may use, four at most."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def sealed_in_order(
    source: Source, keys: DatasetKeys, threads: int
) -> Generator[Sealed, None, None]:
    """Yield all chunks of `source`, sealed, in the order in which they stand in the body.

    Raises:
        SourceRefused: the source cannot be read, or changes.
    """
    free: SimpleQueue[_Buffers] = SimpleQueue()
    # One more than can be under way: the one whose result is being written.
    for _ in range(threads + WAITING + 1):
        free.put(_Buffers(memoryview(bytearray(SPAN)), memoryview(bytearray(_BUFFER))))

    def work(spans: Sequence[Span]) -> tuple[Sealed, _Buffers]:
        buffers = free.get()
        return _seal(spans, buffers, source, keys), buffers

    with closing(in_order(work, _jobs(source.files), threads)) as results:
        for sealed, buffers in results:
            yield sealed
            free.put(buffers)


def in_order(work: Callable[[J], R], jobs: Iterable[J], threads: int) -> Generator[R, None, None]:
    """Yield the jobs' results in the jobs' order; only a few are begun before they are asked for.

    `ThreadPoolExecutor.map` begins all of them, and keeps what nobody has asked for.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) == threads + WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _jobs(files: Sequence[SourceFile]) -> Iterator[Sequence[Span]]:
    """Yield spans, as many at a time as fit the buffers."""
    job: list[Span] = []
    size = 0
    for span in _spans(files):
        if job and (size + span.size > SPAN or len(job) == _FILES_IN_JOB):
            yield job
            job, size = [], 0
        job.append(span)
        size += span.size
    if job:
        yield job


def _spans(files: Sequence[SourceFile]) -> Iterator[Span]:
    for number, file in enumerate(files):
        for offset in range(0, max(file.size, 1), SPAN):
            size = min(SPAN, file.size - offset)
            yield Span(number, offset, size, offset + size == file.size)


def _seal(spans: Sequence[Span], buffers: _Buffers, source: Source, keys: DatasetKeys) -> Sealed:
    out, leaves = 0, []
    for span in spans:
        plain = buffers.plain[: span.size]
        source.read_into(span.file, span.offset, plain)
        of_span = []
        count, first = chunk_count(span.size), span.offset // CHUNK
        for i in range(count):
            chunk = plain[i * CHUNK : (i + 1) * CHUNK]
            last = span.ends_file and i == count - 1
            nonce = chunk_nonce(span.file + 1, first + i, last=last)
            end = out + len(chunk) + TAG_SIZE
            keys.body.encrypt_into(nonce, chunk, keys.dataset, buffers.sealed[out:end])
            of_span.append(leaf(chunk))
            out = end
        leaves.append(of_span)
    return Sealed(spans=spans, data=buffers.sealed[:out], leaves=leaves)


Progress = Callable[[int], None]
"""Told how many bytes of plaintext are done."""
