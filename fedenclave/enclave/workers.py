"""Two threads, each with its own scratch, that share a file's chunks between them.

AES-GCM, GMAC, SHA-256 and numpy release the GIL on chunks of this size, so two threads do nearly
twice the work of one. Which thread takes which chunk never changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.secret_memory import SecretMemory

T = TypeVar("T")


class Workers:
    """A fixed pool."""

    def __init__(self, memory: SecretMemory, count: int = 2) -> None:
        """Allocate scratch for `count` threads."""
        self._scratch = [Scratch(memory) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count)

    def each(self, chunks: int, work: Callable[[int, Scratch], T]) -> Sequence[T]:
        """Return `work(i, scratch)` for every chunk number i, in order of i.

        Raises:
            Exception: the first that a chunk's work raised, after all threads have stopped.
        """
        results: list[T | None] = [None] * chunks
        count = len(self._scratch)

        def share(first: int) -> None:
            for i in range(first, chunks, count):
                results[i] = work(i, self._scratch[first])

        futures = [self._pool.submit(share, first) for first in range(min(count, chunks))]
        wait(futures)
        for future in futures:
            future.result()
        return results  # type: ignore[return-value]  # every slot has been filled
