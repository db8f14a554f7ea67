"""Two threads, each with its own scratch, that share a file's chunks between them.

AES-GCM, GMAC, SHA-256 and numpy release the GIL on chunks of this size, so two threads do nearly
twice the work of one. Which thread takes which chunk never changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.secret_memory import SecretMemory

T = TypeVar("T")


class Workers:
    """The calling thread and a fixed pool of others. One call of `each` at a time."""

    def __init__(self, memory: SecretMemory, count: int = 2) -> None:
        """Allocate scratch for `count` threads."""
        self._scratch = [Scratch(memory) for _ in range(count)]
        self._pool = ThreadPoolExecutor(max(1, count - 1))

    def take_tiles(self, memory: SecretMemory, size: int) -> None:
        """Give every thread a tile of `size` bytes."""
        for scratch in self._scratch:
            scratch.take_tile(memory, size)

    def each(self, chunks: int, work: Callable[[int, Scratch], T]) -> Sequence[T]:
        """Return `work(i, scratch)` for every chunk number i, in order of i.

        Raises:
            Exception: what the work on the lowest failing chunk raised, after all threads have
                stopped; the same whatever the number of threads.
        """
        results: list[T | None] = [None] * chunks
        failures: dict[int, Exception] = {}
        # Taken one by one and not shared out beforehand: a thread that the machine slows down
        # holds nobody up. The GIL makes `next` atomic.
        numbers = iter(range(chunks))

        def share(scratch: Scratch) -> None:
            # Whatever number has been taken is worked on, so that no number below a failing one
            # is left out.
            while not failures and (i := next(numbers, None)) is not None:
                try:
                    results[i] = work(i, scratch)
                except Exception as error:
                    failures[i] = error

        others = [self._pool.submit(share, scratch) for scratch in self._scratch[1:]]
        share(self._scratch[0])
        for other in others:
            other.result()
        if failures:
            raise failures[min(failures)]
        return results  # type: ignore[return-value]  # every slot has been filled
