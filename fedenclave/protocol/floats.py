"""Stored elements to and from the floats they are computed in, and the difference of two models.

numpy has no bfloat16: it is held as its 16 bits in uint16.

SPEC.md, section 5.3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.tensors import DType, Schema

Float32Array = NDArray[np.float32]
WideArray = NDArray[np.float32] | NDArray[np.float64]
"""Values as they are judged and combined: see `DType.wide`."""

MAX_COUNT = 2**31
"""Most by which an integer element may change in one round."""

BLOCK = 4096
"""Elements whose products are added up in `DType.wide`; blocks' sums are then added exactly. In
float32 a longer sum would lose precision."""


def widen(raw: NDArray[np.generic], dtype: DType) -> WideArray:
    """Return stored elements in `dtype.wide`, without a copy where they are that already.

    Exact, but for integers above 2**53.
    """
    if dtype is DType.BFLOAT16:
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.astype(dtype.wide, copy=False)


def narrow(values: NDArray[np.floating], dtype: DType) -> NDArray[np.generic]:
    """Return finite values rounded to nearest, ties to even, as stored floats of `dtype`.

    bfloat16 is rounded from float32, so values that come as float64 are rounded twice there.
    """
    if dtype is not DType.BFLOAT16:
        return values.astype(dtype.storage)
    bits = values.astype(np.float32).view(np.uint32)
    # Half of the last kept bit, less one, plus that bit itself: ties go to even.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def add_count(
    base: NDArray[np.generic], step: NDArray[np.float64], dtype: DType
) -> NDArray[np.generic]:
    """Return `base` + `step`, rounded to nearest, ties to even, and kept within `dtype`.

    Args:
        base: integers as they are stored.
        step: of magnitude at most MAX_COUNT.
        dtype: an integer type.
    """
    limits, whole = np.iinfo(dtype.storage.name), base.astype(np.int64)
    # What is added stops at the type's ends, in a way that cannot overflow itself.
    most = np.int64(limits.max) - np.maximum(whole, 0)
    least = np.int64(limits.min) - np.minimum(whole, 0 if limits.min < 0 else limits.max)
    return (whole + np.clip(np.rint(step).astype(np.int64), least, most)).astype(dtype.storage)


def difference(
    schema: Schema, trained: bytes | bytearray | memoryview, base: bytes | bytearray | memoryview
) -> bytearray:
    """Return the update `trained - base`, element by element.

    Floats are subtracted in `DType.wide` and rounded to their type; integers are subtracted as
    they are.

    Args:
        schema: the layout of both payloads.
        trained: parameters after training, `schema.payload_size` bytes.
        base: parameters before training, of the same length.

    Raises:
        ValueError: a payload is not as long as the schema says, or an integer has changed by more
            than an update of its type can hold.
    """
    if len(trained) != schema.payload_size or len(base) != schema.payload_size:
        raise ValueError("payloads are not as long as their schema says")
    update = bytearray(schema.payload_size)
    for chunk in schema.chunks:
        count, dtype = chunk.size // chunk.dtype.itemsize, chunk.dtype
        a = np.frombuffer(trained, dtype.storage, count, chunk.offset)
        b = np.frombuffer(base, dtype.storage, count, chunk.offset)
        into = np.frombuffer(update, dtype.update_storage, count, chunk.offset)
        if dtype.integer:
            into[:] = _counted(a, b, dtype)
            continue
        # NaN and overflow are for the caller to see in the result; they need no warning here.
        with np.errstate(invalid="ignore", over="ignore"):
            into[:] = narrow(widen(a, dtype) - widen(b, dtype), dtype)
    return update


def _counted(
    trained: NDArray[np.generic], base: NDArray[np.generic], dtype: DType
) -> NDArray[np.int64]:
    """Return how far integers have moved."""
    moved = trained.astype(np.int64) - base.astype(np.int64)
    most = min(MAX_COUNT, int(np.iinfo(dtype.update_storage.name).max))
    # As floats too: the difference of two 64-bit integers wraps, that of their floats does not.
    far = np.abs(trained.astype(np.float64) - base.astype(np.float64)) > most
    if (far | (np.abs(moved) > most)).any():
        raise ValueError(f"an integer of type {dtype} has changed by more than {most}")
    return moved


def all_finite(schema: Schema, payload: bytes | bytearray | memoryview) -> bool:
    """Return whether no element of a flat payload is a NaN or an infinity."""
    for chunk in schema.chunks:
        if chunk.dtype.integer:
            continue
        count = chunk.size // chunk.dtype.itemsize
        raw = np.frombuffer(payload, chunk.dtype.storage, count, chunk.offset)
        if not np.isfinite(widen(raw, chunk.dtype)).all():
            return False
    return True
