"""Aggregation: the exact weighted mean over sealed updates, chunk by chunk.

For chunk i the two threads read chunk i of every update into private memory, compare it with its
fingerprint, decrypt it, and add it to an accumulator that fits the core's cache; then the base
model's chunk is added and the new model's chunk is kept inside. Nothing of an unfinished pass
leaves, and memory does not grow with the number of updates.

SPEC.md, section 11.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave import fixed_point
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.workers import Workers
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.floats import narrow
from fedenclave.protocol.model import model_digest
from fedenclave.protocol.tensors import Chunk, DType, Schema

_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An admitted update as the passes need it."""

    client: str
    organisation: str
    digest: Digest
    file: HostFile
    chunks_at: int
    content_key: memoryview
    weight: int
    shrink: float
    fingerprints: tuple[bytes, ...]
    serial: int


class ChangedAfterAdmission(Exception):
    """A chunk is not what admission judged (T16). Carries the update to set aside."""

    def __init__(self, update: Admitted) -> None:
        """Name the update."""
        super().__init__(update.client)
        self.update = update


class Mean:
    """The weighted mean of deltas, added to the base model."""

    def __init__(self, schema: Schema, max_abs: float, workers: Workers) -> None:
        """Allocate the new model's memory once: touching fresh pages is slow."""
        self._schema = schema
        self._bits = fixed_point.scale_bits(max_abs)
        self._workers = workers
        self._offsets = layout.chunk_offsets(schema)
        self.digest: Digest | None = None
        self.model = np.zeros(schema.payload_size, np.uint8)
        self.model[:] = 0  # np.zeros maps pages lazily; this touches them

    def run(
        self, updates: Sequence[Admitted], base: BaseModel, fingerprinter: Fingerprinter
    ) -> Digest:
        """Compute the new model into `self.model` and return its digest.

        Until the last chunk has passed, `self.digest` is None: what lies in `self.model` then must
        not leave, not even where the pass failed and an earlier release is asked for again.

        Args:
            updates: at least one; what admission kept.
            base: the model that the updates are relative to.
            fingerprinter: the round's, which made the updates' fingerprints.

        Raises:
            ChangedAfterAdmission: an update's file has changed; run again without it.
            RequestRefused: a file cannot be read, or the base model's file is not the base model.
        """
        self.digest = None
        factors = fixed_point.factors(
            [u.weight for u in updates], [u.shrink for u in updates], self._bits
        )
        ciphers = [AESGCM(u.content_key) for u in updates]
        last = len(self._schema.chunks)

        def aggregate_chunk(index: int, scratch: Scratch) -> bytes:
            chunk, number = self._schema.chunks[index], index + 1
            window = scratch.window(chunk)
            sealed, plain, total, work = window.sealed, window.plain, window.sum, window.double
            nonce = layout.chunk_nonce(number, last=number == last)
            total[:] = 0
            for update, cipher, factor in zip(updates, ciphers, factors, strict=True):
                update.file.read_into(sealed, update.chunks_at + self._offsets[number])
                if not fingerprinter.matches(
                    update.fingerprints[index], sealed, serial=update.serial, chunk=number
                ):
                    raise ChangedAfterAdmission(update)
                cipher.decrypt_into(nonce, sealed, None, plain)
                fixed_point.add(total, window.values(), factor, work)
            fixed_point.finish(total, len(updates), self._bits, work)
            np.add(work, base.chunk(index, window), out=work)
            return self._keep(chunk, work)

        digests = self._workers.each(len(self._schema.chunks), aggregate_chunk)
        self.digest = model_digest(self._schema.digest, digests)
        return self.digest

    def _keep(self, chunk: Chunk, values: np.typing.NDArray[np.float64]) -> bytes:
        """Round `values` into the new model and return the chunk's SHA-256."""
        if chunk.dtype is DType.FLOAT16:
            # Only float16 can overflow: a wider type's largest number plus 2**40 rounds to itself.
            np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX, out=values)
        kept = self.model[chunk.offset : chunk.offset + chunk.size]
        if chunk.dtype is DType.FLOAT32:
            np.copyto(kept.view(np.float32), values, casting="same_kind")
        else:
            kept.view(chunk.dtype.storage)[:] = narrow(values, chunk.dtype)
        return hashlib.sha256(kept).digest()
