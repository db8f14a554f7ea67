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
from fedenclave.protocol.floats import Float32Array
from fedenclave.protocol.sealed_update import TAG_SIZE
from fedenclave.protocol.tensors import CHUNK_SIZE, Chunk, DType

# A full chunk of 2-byte elements has the most of them.
_MAX_ELEMENTS = CHUNK_SIZE // 2


class Scratch:
    """Buffers of one thread. Not shared, not locked."""

    SECRET_SIZE = CHUNK_SIZE + _MAX_ELEMENTS * (4 + 8 + 8)

    def __init__(self, memory: SecretMemory) -> None:
        """Take `SECRET_SIZE` bytes of secret memory."""
        self._plain = memory.allocate(CHUNK_SIZE)
        self._single = memory.allocate(_MAX_ELEMENTS * 4)
        self._double = memory.allocate(_MAX_ELEMENTS * 8)
        self._sum = memory.allocate(_MAX_ELEMENTS * 8)

    def window(self, chunk: Chunk) -> Window:
        """Return the buffers cut to the size of `chunk`. Their contents are from the last use."""
        return Window(self._plain, self._single, self._double, self._sum, chunk)


class Window:
    """A thread's buffers, cut to one chunk. Made once per chunk, used for every update.

    Attributes:
        sealed: for the sealed chunk. Shares its memory with `double`: decrypt, then compute.
        plain: for the chunk's plaintext.
        double: for one float64 per element.
        sum: for one int64 per element.
    """

    __slots__ = ("_dtype", "_raw", "_wide", "double", "plain", "sealed", "sum")

    def __init__(
        self,
        plain: NDArray[np.uint8],
        single: NDArray[np.uint8],
        double: NDArray[np.uint8],
        sum_: NDArray[np.uint8],
        chunk: Chunk,
    ) -> None:
        """Cut the buffers, each at least as long as needed."""
        count = chunk.size // chunk.dtype.itemsize
        self._dtype = chunk.dtype
        self._raw = plain[: chunk.size].view(chunk.dtype.storage)
        self._wide = single[: 4 * count].view(np.float32)
        self.plain = memoryview(plain[: chunk.size])
        self.sealed = memoryview(double[: chunk.size + TAG_SIZE])
        self.double = double[: 8 * count].view(np.float64)
        self.sum = sum_[: 8 * count].view(np.int64)

    def values(self) -> Float32Array:
        """Return the plaintext's elements as float32, widened inside secret memory."""
        if self._dtype is DType.FLOAT32:
            return self._raw
        if self._dtype is DType.FLOAT16:
            self._wide[:] = self._raw
        else:
            bits = self._wide.view(np.uint32)
            bits[:] = self._raw
            np.left_shift(bits, np.uint32(16), out=bits)
        return self._wide
