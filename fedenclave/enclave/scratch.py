"""One worker thread's buffers: a chunk's ciphertext, its plaintext, and what it is computed in.

Allocated once, on secret pages. numpy's casts go through small internal buffers on the ordinary
heap: fragments of plaintext pass there (THREAT_MODEL.md, limits).

A pass is as fast as its buffers fit the core's L2 cache. So the ciphertext, which is done with as
soon as it is decrypted, lies in the first bytes of the float64 buffer that is written next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.protocol.floats import WideArray
from fedenclave.protocol.sealed_update import TAG_SIZE
from fedenclave.protocol.tensors import CHUNK_SIZE, MAX_CHUNK_ELEMENTS, Chunk, DType


class Scratch:
    """Buffers of one thread. Not shared, not locked."""

    SECRET_SIZE = CHUNK_SIZE + MAX_CHUNK_ELEMENTS * (8 + 8 + 8)

    def __init__(self, memory: SecretMemory) -> None:
        """Take `SECRET_SIZE` bytes of secret memory."""
        self._plain = memory.allocate(CHUNK_SIZE)
        self._wide = memory.allocate(MAX_CHUNK_ELEMENTS * 8)
        self._double = memory.allocate(MAX_CHUNK_ELEMENTS * 8)
        self._sum = memory.allocate(MAX_CHUNK_ELEMENTS * 8)
        self.tile = np.zeros(0, np.uint8)
        self._windows: dict[tuple[int, DType], Window] = {}

    def take_tile(self, memory: SecretMemory, size: int) -> None:
        """Take a tile of `size` bytes, for rules over all updates at once."""
        if len(self.tile) < size:  # what is taken is never given back
            self.tile = memory.allocate(size)

    def window(self, chunk: Chunk) -> Window:
        """Return the buffers cut to the size of `chunk`. Their contents are from the last use."""
        # Nearly all chunks of a model have one of a few sizes, and cutting takes as long as a norm.
        key = (chunk.size, chunk.dtype)
        if key not in self._windows:
            self._windows[key] = Window(self._plain, self._wide, self._double, self._sum, chunk)
        return self._windows[key]


class Window:
    """A thread's buffers, cut to chunks of one size and type, and used for all of them.

    Attributes:
        count: elements of the chunk.
        sealed: for the sealed chunk. Shares its memory with `double`: decrypt, then compute.
        plain: for the chunk's plaintext.
        double: for one float64 per element.
        sum: for one int64 per element.
        spare: all the bytes of `double` and `sealed`, for whoever needs neither.
    """

    __slots__ = ("_dtype", "_raw", "_wide", "count", "double", "plain", "sealed", "spare", "sum")

    def __init__(
        self,
        plain: NDArray[np.uint8],
        wide: NDArray[np.uint8],
        double: NDArray[np.uint8],
        sum_: NDArray[np.uint8],
        chunk: Chunk,
    ) -> None:
        """Cut the buffers, each at least as long as needed."""
        self.count = count = chunk.size // chunk.dtype.itemsize
        self._dtype = chunk.dtype
        self._raw = plain[: chunk.size]
        self._wide = wide[: chunk.dtype.wide.itemsize * count].view(chunk.dtype.wide)
        self.plain = memoryview(self._raw)
        self.sealed = memoryview(double[: chunk.size + TAG_SIZE])
        self.double = double[: 8 * count].view(np.float64)
        self.sum = sum_[: 8 * count].view(np.int64)
        self.spare = double

    def stored(self) -> NDArray[np.generic]:
        """Return the plaintext's elements as parameters are stored."""
        return self._raw.view(self._dtype.storage)

    def values(self) -> WideArray:
        """Return the plaintext's elements, an update's, widened inside secret memory."""
        return self._widened(self._raw.view(self._dtype.update_storage))

    def parameters(self) -> WideArray:
        """Return the plaintext's elements, a model's, widened inside secret memory."""
        return self._widened(self.stored())

    def _widened(self, raw: NDArray[np.generic]) -> WideArray:
        if raw.dtype == self._wide.dtype:
            return raw  # type: ignore[return-value]  # it is float32 or float64
        if self._dtype is DType.BFLOAT16:
            bits = self._wide.view(np.uint32)
            bits[:] = raw
            np.left_shift(bits, np.uint32(16), out=bits)
        else:
            self._wide[:] = raw
        return self._wide
