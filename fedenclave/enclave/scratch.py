"""One worker thread's buffers: a chunk's ciphertext, its plaintext, and what it is computed in.

Allocated once; the plaintext side lies on secret pages. numpy's casts go through small internal
buffers on the ordinary heap: fragments of plaintext pass there (THREAT_MODEL.md, limits).
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
        self.sealed = bytearray(CHUNK_SIZE + TAG_SIZE)
        self._plain = memory.allocate(CHUNK_SIZE)
        self._single = memory.allocate(_MAX_ELEMENTS * 4).view(np.float32)
        self._double = memory.allocate(_MAX_ELEMENTS * 8).view(np.float64)
        self._sum = memory.allocate(_MAX_ELEMENTS * 8).view(np.int64)

    def sealed_view(self, size: int) -> memoryview:
        """Return the first `size` bytes of the ciphertext buffer."""
        return memoryview(self.sealed)[:size]

    def plain_view(self, size: int) -> memoryview:
        """Return the first `size` bytes of the plaintext buffer."""
        return memoryview(self._plain[:size])

    def double(self, count: int) -> NDArray[np.float64]:
        """Return the float64 buffer for `count` elements."""
        return self._double[:count]

    def sum(self, count: int) -> NDArray[np.int64]:
        """Return the accumulator for `count` elements."""
        return self._sum[:count]

    def values(self, chunk: Chunk) -> Float32Array:
        """Return the plaintext buffer's elements as float32, widened inside secret memory."""
        count = chunk.size // chunk.dtype.itemsize
        raw = self._plain[: chunk.size].view(chunk.dtype.storage)
        if chunk.dtype is DType.FLOAT32:
            return raw.view(np.float32)
        wide = self._single[:count]
        if chunk.dtype is DType.FLOAT16:
            wide[:] = raw
        else:
            bits = wide.view(np.uint32)
            bits[:] = raw
            np.left_shift(bits, np.uint32(16), out=bits)
        return wide
