"""A shard's partial sum in a file of the host's: T of its own updates, sealed to the root enclave.

A chunk is one int64 per element of the schema's chunk, AES-256-GCM under a content key that seals
one partial sum, once. T is the integer of section 11.2: adding several up is adding integers, so a
sum divided among enclaves is the sum of one.

What the root learns of the values is that they decrypt. That they are bounded, so that no sum
overflows, rests on the shard's code, which the members have appraised.

SPEC.md, section 11.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.scratch import Window
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.sealed_update import TAG_SIZE, chunk_nonce
from fedenclave.protocol.tensors import Schema

_ELEMENT_SIZE = 8


class PartialSum:
    """One partial sum, to be written or to be added. Used by several threads at once."""

    def __init__(self, schema: Schema, content_key: bytes, file: HostFile) -> None:
        """Write to, or read from, `file` under `content_key`, as `schema` is divided."""
        self._cipher, self._file = AESGCM(content_key), file
        self._offsets, position = [], 0
        for chunk in schema.chunks:
            self._offsets.append(position)
            position += chunk.size // chunk.dtype.itemsize * _ELEMENT_SIZE + TAG_SIZE

    def _nonce(self, index: int) -> bytes:
        return chunk_nonce(index, last=index == len(self._offsets) - 1)

    def write(self, index: int, total: NDArray[np.int64]) -> None:
        """Seal T of chunk `index`.

        Raises:
            RequestRefused: the host's file cannot be written.
        """
        sealed = bytearray(total.nbytes + TAG_SIZE)
        self._cipher.encrypt_into(self._nonce(index), memoryview(total).cast("B"), None, sealed)
        self._file.write(memoryview(sealed), self._offsets[index])

    def add_to(self, index: int, window: Window) -> None:
        """Add chunk `index` to `window.sum`. Destroys `window.double`, where it is deciphered.

        Raises:
            RequestRefused: the host's file cannot be read, or is not this partial sum.
        """
        sealed = bytearray(window.sum.nbytes + TAG_SIZE)
        self._file.read_into(memoryview(sealed), self._offsets[index])
        plain = window.double.view(np.int64)
        try:
            self._cipher.decrypt_into(self._nonce(index), sealed, None, memoryview(plain).cast("B"))
        except InvalidTag:
            raise RequestRefused(
                Refusal.PEER_MESSAGE, hint="the file is not the partial sum of this total"
            ) from None
        np.add(window.sum, plain, out=window.sum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What the other enclaves bring to a sum: all clients' weight, and their partial sums."""

    weight: int
    sums: Sequence[PartialSum] = ()
