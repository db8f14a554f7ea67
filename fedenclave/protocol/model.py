"""The model file: schema and flat payload; and the digest that names a model.

The digest is a two-level tree (SHA-256 over the SHA-256 of each chunk), so that several cores can
share the work: SHA-256 is the slowest thing in a round.

SPEC.md, section 5.4.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.tensors import Schema

MAGIC = b"FEM1"
_LENGTH = struct.Struct(">I")


def model_digest(schema_digest: bytes, chunk_digests: Iterable[bytes]) -> Digest:
    """Return the digest of a model from its schema's digest and its chunks' SHA-256."""
    return domain_digest("model", schema_digest, b"".join(chunk_digests))


@dataclass(frozen=True, kw_only=True)
class Model:
    """A schema and the payload that it lays out."""

    schema: Schema
    payload: bytes | bytearray | memoryview

    def __post_init__(self) -> None:
        """Refuse a payload of the wrong length."""
        if len(self.payload) != self.schema.payload_size:
            raise MalformedMessage(
                f"model has {len(self.payload)} bytes, want {self.schema.payload_size}"
            )

    def digest(self) -> Digest:
        """Return the digest that names this model. Hashes the payload, on up to two threads."""
        view = memoryview(self.payload)

        def hash_of(chunk_index: int) -> bytes:
            chunk = self.schema.chunks[chunk_index]
            return hashlib.sha256(view[chunk.offset : chunk.offset + chunk.size]).digest()

        count = len(self.schema.chunks)
        if count < 8:
            return model_digest(self.schema.digest, map(hash_of, range(count)))
        with ThreadPoolExecutor(2) as pool:
            return model_digest(self.schema.digest, pool.map(hash_of, range(count)))

    def to_bytes(self) -> bytes:
        """Return the model file."""
        return model_file_head(self.schema) + self.payload

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Model:
        """Parse a model file; the payload is a view of `data`.

        Raises:
            MalformedMessage: it is not a model file, or its length does not fit its schema.
        """
        view = memoryview(data)
        start = len(MAGIC) + _LENGTH.size
        if len(view) < start or view[: len(MAGIC)] != MAGIC:
            raise MalformedMessage("not a model file: it does not begin with FEM1")
        (size,) = _LENGTH.unpack(view[len(MAGIC) : start])
        if size > len(view) - start:
            raise MalformedMessage("model file ends inside its schema")
        schema = Schema.from_bytes(bytes(view[start : start + size]))
        return cls(schema=schema, payload=view[start + size :])


def model_file_head(schema: Schema) -> bytes:
    """Return what comes before the payload in a model file: its length is the payload's offset."""
    encoded = schema.to_bytes()
    return MAGIC + _LENGTH.pack(len(encoded)) + encoded
