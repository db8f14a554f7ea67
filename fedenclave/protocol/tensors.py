"""The tensor schema, the flat layout that follows from it, and the chunks it is cut into.

A model is one flat payload: its tensors, little-endian and C-ordered, grouped by dtype (in the
order of `DType`) and within a dtype in the schema's order. Grouping means that a chunk never holds
two dtypes, and that a model of 267 tensors travels as one array.

SPEC.md, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

CHUNK_SIZE = 256 * 1024
"""Bytes of payload in a full chunk: the accumulator and scratch for it stay in a core's L2 cache,
and from this size on AES-GCM runs at full speed on two threads."""

MAX_CHUNK_ELEMENTS = CHUNK_SIZE // 2
"""Elements in a chunk at most: the buffers for 1-byte elements are no larger than for others."""

MAX_PARAMETERS = 2**34
MAX_RANK = 16
MAX_NAME = 512


class DType(StrEnum):
    """The element types that are averaged, in the order in which a payload holds them.

    An update is a difference, and has a sign: that of uint8 tensors is held as int8.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT64 = "float64"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    UINT8 = "uint8"

    @property
    def integer(self) -> bool:
        """Whether it counts, as a batch norm's `num_batches_tracked` does."""
        return self.storage.kind in "iu" and self is not DType.BFLOAT16

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.storage.itemsize

    @property
    def storage(self) -> np.dtype[np.generic]:
        """The numpy dtype that holds a parameter; bfloat16 is held as its 16 bits."""
        return _STORAGE[self]

    @property
    def update_storage(self) -> np.dtype[np.generic]:
        """The numpy dtype that holds an element of an update."""
        return np.dtype("i1") if self is DType.UINT8 else self.storage

    @property
    def wide(self) -> np.dtype[np.floating]:
        """The numpy dtype in which values are judged and combined: float32, or float64."""
        narrow = self in (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
        return np.dtype(np.float32 if narrow else np.float64)


_STORAGE: dict[DType, np.dtype[np.generic]] = {
    DType.FLOAT32: np.dtype("<f4"),
    DType.FLOAT16: np.dtype("<f2"),
    DType.BFLOAT16: np.dtype("<u2"),
    DType.FLOAT64: np.dtype("<f8"),
    DType.INT64: np.dtype("<i8"),
    DType.INT32: np.dtype("<i4"),
    DType.INT16: np.dtype("<i2"),
    DType.INT8: np.dtype("i1"),
    DType.UINT8: np.dtype("u1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec(Record):
    """Name, dtype and shape of one tensor. A scalar has an empty shape."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse names and shapes outside the limits."""
        if not 0 < len(self.name) <= MAX_NAME:
            raise MalformedMessage(
                f"tensor name has {len(self.name)} characters, want 1-{MAX_NAME}"
            )
        if len(self.shape) > MAX_RANK:
            raise MalformedMessage(f"tensor has rank {len(self.shape)}, want at most {MAX_RANK}")
        # Also where another dimension is 0, and nothing is stored: numpy takes no such shape.
        if any(size > MAX_PARAMETERS for size in self.shape):
            raise MalformedMessage(f"tensor has a dimension above {MAX_PARAMETERS}")

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A run of elements of one dtype: `offset` and `size` in bytes of the payload."""

    offset: int
    size: int
    dtype: DType


@dataclass(frozen=True, kw_only=True)
class Schema(Record):
    """The tensors of a model, in order."""

    MAX_SIZE: ClassVar[int] = 16 << 20

    tensors: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        """Refuse an empty schema, double names, and sizes above the limit."""
        names = {spec.name for spec in self.tensors}
        if len(names) != len(self.tensors):
            raise MalformedMessage("schema names a tensor twice")
        if not 0 < self.parameters <= MAX_PARAMETERS:
            raise MalformedMessage(
                f"schema has {self.parameters} parameters, want 1 to {MAX_PARAMETERS}"
            )

    @cached_property
    def parameters(self) -> int:
        """Number of elements of all tensors."""
        return sum(spec.count for spec in self.tensors)

    @cached_property
    def payload_size(self) -> int:
        """Bytes of the flat payload."""
        return sum(spec.count * spec.dtype.itemsize for spec in self.tensors)

    @cached_property
    def digest(self) -> Digest:
        """The digest by which manifest, headers and models name this schema."""
        return domain_digest("schema", self.to_bytes())

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The payload cut into chunks of at most CHUNK_SIZE bytes and MAX_CHUNK_ELEMENTS elements.

        None holds two dtypes.
        """
        return tuple(self._cut())

    def _cut(self) -> Iterator[Chunk]:
        start = 0
        for dtype in DType:
            run = sum(s.count * dtype.itemsize for s in self.tensors if s.dtype is dtype)
            most = min(CHUNK_SIZE, MAX_CHUNK_ELEMENTS * dtype.itemsize)
            for offset in range(0, run, most):
                size = min(most, run - offset)
                yield Chunk(offset=start + offset, size=size, dtype=dtype)
            start += run

    def layout(self) -> Iterator[tuple[TensorSpec, int]]:
        """Yield each tensor with its byte offset in the payload, in payload order."""
        offset = 0
        for dtype in DType:
            for spec in self.tensors:
                if spec.dtype is dtype:
                    yield spec, offset
                    offset += spec.count * dtype.itemsize


def pack(schema: Schema, tensors: Mapping[str, NDArray[np.generic]]) -> bytearray:
    """Return the flat payload of `tensors`.

    Args:
        schema: what the tensors must be, by name, dtype and shape. bfloat16 comes as uint16 bits.
        tensors: one array per name of the schema, no others.

    Raises:
        ValueError: a tensor is missing, unknown, or of another dtype or shape.
    """
    wanted = {spec.name for spec in schema.tensors}
    if tensors.keys() != wanted:
        odd = sorted(tensors.keys() ^ wanted)
        raise ValueError(f"tensors missing from or unknown to the schema: {', '.join(odd[:5])}")
    payload = bytearray(schema.payload_size)
    for spec, offset in schema.layout():
        array = tensors[spec.name]
        if array.dtype != spec.dtype.storage or array.shape != spec.shape:
            raise ValueError(
                f"tensor {spec.name} is {array.dtype} {array.shape}, want {spec.dtype} {spec.shape}"
            )
        into = np.frombuffer(payload, spec.dtype.storage, spec.count, offset)
        into[:] = array.reshape(-1)
    return payload


def unpack(
    schema: Schema, payload: bytes | bytearray | memoryview
) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a flat payload, in the schema's order, as views of it.

    Raises:
        MalformedMessage: the payload is not as long as the schema says.
    """
    if len(payload) != schema.payload_size:
        raise MalformedMessage(
            f"payload has {len(payload)} bytes, want {schema.payload_size} by its schema"
        )
    views = {
        spec.name: np.frombuffer(payload, spec.dtype.storage, spec.count, offset).reshape(
            spec.shape
        )
        for spec, offset in schema.layout()
    }
    return {spec.name: views[spec.name] for spec in schema.tensors}


def schema_of(tensors: Mapping[str, NDArray[np.generic]]) -> Schema:
    """Return the schema of named arrays.

    Raises:
        ValueError: an array is of a type that is not averaged, or there is nothing to average.
    """
    specs = []
    for name, array in tensors.items():
        if array.dtype.name not in tuple(DType):
            known = ", ".join(dtype for dtype in DType if dtype is not DType.BFLOAT16)
            raise ValueError(
                f"tensor {name} is {array.dtype}, want one of {known}: only these are averaged"
            )
        specs.append(TensorSpec(name=name, dtype=DType(array.dtype.name), shape=array.shape))
    try:
        return Schema(tensors=tuple(specs))
    except MalformedMessage as error:
        raise ValueError(error.message) from error
