"""float16 and bfloat16 to and from float32, and the difference of two models.

numpy has no bfloat16: it is held as its 16 bits in uint16.

SPEC.md, section 5.3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.tensors import DType, Schema

Float32Array = NDArray[np.float32]


def widen(raw: NDArray[np.generic], dtype: DType) -> Float32Array:
    """Return stored elements as float32: exactly, and without a copy where they are float32."""
    if dtype is DType.FLOAT32:
        return raw.view(np.float32)
    if dtype is DType.FLOAT16:
        return raw.astype(np.float32)
    return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(values: NDArray[np.floating], dtype: DType) -> NDArray[np.generic]:
    """Return finite values rounded to nearest, ties to even, as stored elements of `dtype`.

    bfloat16 is rounded from float32, so values that come as float64 are rounded twice there.
    """
    if dtype is not DType.BFLOAT16:
        return values.astype(dtype.storage)
    bits = values.astype(np.float32).view(np.uint32)
    # Half of the last kept bit, less one, plus that bit itself: ties go to even.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def difference(
    schema: Schema, trained: bytes | bytearray | memoryview, base: bytes | bytearray | memoryview
) -> bytearray:
    """Return the update `trained - base`, elementwise in float32, rounded to each dtype.

    Args:
        schema: the layout of both payloads.
        trained: parameters after training, `schema.payload_size` bytes.
        base: parameters before training, of the same length.

    Raises:
        ValueError: a payload is not as long as the schema says.
    """
    if len(trained) != schema.payload_size or len(base) != schema.payload_size:
        raise ValueError("payloads are not as long as their schema says")
    update = bytearray(schema.payload_size)
    for chunk in schema.chunks:
        count = chunk.size // chunk.dtype.itemsize
        storage = chunk.dtype.storage
        a = widen(np.frombuffer(trained, storage, count, chunk.offset), chunk.dtype)
        b = widen(np.frombuffer(base, storage, count, chunk.offset), chunk.dtype)
        into = np.frombuffer(update, storage, count, chunk.offset)
        # NaN and overflow are for the caller to see in the result; they need no warning here.
        with np.errstate(invalid="ignore", over="ignore"):
            into[:] = narrow(a - b, chunk.dtype)
    return update


def all_finite(schema: Schema, payload: bytes | bytearray | memoryview) -> bool:
    """Return whether no element of a flat payload is a NaN or an infinity."""
    for chunk in schema.chunks:
        count = chunk.size // chunk.dtype.itemsize
        raw = np.frombuffer(payload, chunk.dtype.storage, count, chunk.offset)
        if not np.isfinite(widen(raw, chunk.dtype)).all():
            return False
    return True
