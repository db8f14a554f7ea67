"""Read a whole dataset, and name everything in it that is not what was sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from fedenclave.datasets.digest import FileDigest, leaf
from fedenclave.datasets.errors import DatasetDamaged
from fedenclave.datasets.index import Member
from fedenclave.datasets.layout import CHUNK, TAG_SIZE, chunk_count
from fedenclave.datasets.pipeline import default_threads, in_order
from fedenclave.datasets.reader import SealedDataset
from fedenclave.protocol.digests import equal

MAX_PROBLEMS = 100
_CHUNKS_IN_JOB = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was read, and what of it was wrong: MAX_PROBLEMS messages at most."""

    files: int
    size: int
    problems: Sequence[str]


@dataclass(slots=True)
class _Read:
    """Successive chunks of one file, the first of them `first`, and what was found there."""

    member: Member
    first: int
    ends_file: bool
    size: int = 0
    leaves: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(dataset: SealedDataset, progress: Callable[[int], None] = lambda done: None) -> Verified:
    """Read every chunk, and compare every file's digest with what the index says.

    Raises:
        StorageFailed: it cannot be read.
    """
    problems: list[str] = []
    done = 0
    current, whole = FileDigest(0), True
    with closing(in_order(partial(_read, dataset), _jobs(dataset), default_threads())) as results:
        for read in results:
            if read.first == 0:
                current, whole = FileDigest(read.member.size), True
            for chunk_leaf in read.leaves:
                current.add(chunk_leaf)
            done += read.size
            problems += read.problems
            whole = whole and not read.problems
            if read.ends_file and whole and not equal(current.digest(), read.member.digest):
                problems.append(
                    f"dataset {dataset.head.name} at {dataset.place}: file {read.member.name!r} "
                    "opens, and does not have the digest that the index says"
                )
            progress(done)
            if len(problems) >= MAX_PROBLEMS:
                break
    return Verified(files=len(dataset.members), size=done, problems=problems[:MAX_PROBLEMS])


def _jobs(dataset: SealedDataset) -> Iterator[tuple[Member, range]]:
    for member in dataset.members.values():
        count = chunk_count(member.size)
        for first in range(0, count, _CHUNKS_IN_JOB):
            yield member, range(first, min(first + _CHUNKS_IN_JOB, count))


def _read(dataset: SealedDataset, job: tuple[Member, range]) -> _Read:
    member, chunks = job
    sealed = memoryview(bytearray(CHUNK + TAG_SIZE))
    plain = memoryview(bytearray(CHUNK))
    read = _Read(member, chunks.start, chunks.stop == chunk_count(member.size))
    for chunk in chunks:
        part = plain[: min(CHUNK, member.size - chunk * CHUNK)]
        try:
            dataset.open_chunk(member, chunk, part, sealed)
        except DatasetDamaged as error:
            read.problems.append(error.message)
        read.leaves.append(leaf(part))
        read.size += len(part)
    return read
