"""An admitted update, and how its chunks are read again: never without their fingerprints.

SPEC.md, section 11.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.tensors import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An admitted update as the passes need it.

    Attributes:
        file: None after a restart, until the host has handed it in again.
        weight: what it counts, a positive integer.
        shrink: what its floats are multiplied with, in (0, 1]: below 1 where it is clipped.
        square_norm: the square of its floats' norm, before it is clipped.
        metrics: those that the manifest asks for, in the order of `Rules.reported`.
        fingerprinter: made the fingerprints: of the run that has admitted it.
    """

    client: str
    organisation: str
    digest: Digest
    file: HostFile | None
    chunks_at: int
    content_key: memoryview
    weight: int
    shrink: float
    fingerprints: tuple[bytes, ...]
    serial: int
    fingerprinter: Fingerprinter
    square_norm: float = 0.0
    metrics: tuple[float, ...] = ()


class ChangedAfterAdmission(Exception):
    """A chunk is not what admission judged (T16). Carries the update to set aside."""

    def __init__(self, update: Admitted) -> None:
        """Name the update."""
        super().__init__(update.client)
        self.update = update


class Reader:
    """Reads the chunks of a cohort's updates. Used by several threads at once."""

    def __init__(self, updates: Sequence[Admitted], schema: Schema, metrics: int) -> None:
        """Prepare a cipher for each of `updates`, in their order.

        Args:
            updates: what admission kept.
            schema: the updates' layout.
            metrics: how many are sealed into each.
        """
        self.updates = tuple(updates)
        self._ciphers = [AESGCM(update.content_key) for update in updates]
        self._offsets = layout.chunk_offsets(schema, metrics)
        self._last = len(schema.chunks)

    def only(self, numbers: Sequence[int]) -> Reader:
        """Return a reader of some of the updates, in the order of `numbers`."""
        part = copy(self)
        part.updates = tuple(self.updates[k] for k in numbers)
        part._ciphers = [self._ciphers[k] for k in numbers]
        return part

    def open_chunk(self, number: int, index: int, sealed: memoryview, plain: memoryview) -> None:
        """Decrypt chunk `index` of update `number` into `plain`, by way of `sealed`.

        Raises:
            ChangedAfterAdmission: it is not what admission judged.
            RequestRefused: the host's file cannot be read.
        """
        update, chunk = self.updates[number], index + 1
        if update.file is None:
            raise ChangedAfterAdmission(update)
        update.file.read_into(sealed, update.chunks_at + self._offsets[chunk])
        if not update.fingerprinter.matches(
            update.fingerprints[index], sealed, serial=update.serial, chunk=chunk
        ):
            raise ChangedAfterAdmission(update)
        nonce = layout.chunk_nonce(chunk, last=chunk == self._last)
        self._ciphers[number].decrypt_into(nonce, sealed, None, plain)
