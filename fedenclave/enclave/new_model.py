"""The model in the making: it stays in the enclave until its round is released.

SPEC.md, sections 11.2 and 11.3.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.scratch import Window
from fedenclave.protocol.floats import add_count, narrow
from fedenclave.protocol.tensors import DType, Schema

_FLOAT16_MAX = 65504.0


class NewModel:
    """One model's memory, used again every round."""

    def __init__(self, schema: Schema) -> None:
        """Allocate once: touching fresh pages is slow."""
        self._schema = schema
        self.payload = np.zeros(schema.payload_size, np.uint8)
        self.payload[:] = 0  # np.zeros maps pages lazily; this touches them

    def keep(self, index: int, window: Window, base: BaseModel) -> bytes:
        """Add the base model's chunk to the step in `window.double`, and keep the sum.

        Returns:
            The chunk's SHA-256.

        Raises:
            RequestRefused: the host's file of the base model cannot be read, or is another.
        """
        chunk = self._schema.chunks[index]
        base.read(index, window)
        kept = self.payload[chunk.offset : chunk.offset + chunk.size]
        into, step = kept.view(chunk.dtype.storage), window.double
        if chunk.dtype.integer:
            into[:] = add_count(window.stored(), step, chunk.dtype)
            return hashlib.sha256(kept).digest()
        np.add(step, window.parameters(), out=step)
        if chunk.dtype is DType.FLOAT16:
            # Only float16 can overflow: the others hold far more than any rule can make.
            np.clip(step, -_FLOAT16_MAX, _FLOAT16_MAX, out=step)
        if chunk.dtype is DType.FLOAT32:
            np.copyto(into, step, casting="same_kind")
        else:
            into[:] = narrow(step, chunk.dtype)
        return hashlib.sha256(kept).digest()
