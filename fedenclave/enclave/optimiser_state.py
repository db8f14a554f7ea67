"""What a server optimiser remembers lies with the host, sealed; the enclave keeps the file's key.

So the enclave's memory holds one model, whatever the optimiser. A pass writes a new file and reads
the old one; only when the round is released does the new one count. Every pass draws a key of its
own, so that a nonce, the number of the chunk, is never used twice, not even where the enclave dies
in the middle of a pass and makes it again.

The host can lose the file, and then no round can be closed any more. It can neither read it, nor
change it, nor hand in an older one: that has another key.

SPEC.md, section 11.2.
"""

from __future__ import annotations

import os

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.optimiser import Floats, Memory, slots, step_of
from fedenclave.protocol.aggregation import ServerOptimiser
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.sealed_update import TAG_SIZE
from fedenclave.protocol.tensors import Schema

_KEY_SIZE = 32


class OptimiserState:
    """The optimiser of one federation. Several threads step different chunks at once."""

    def __init__(self, optimiser: ServerOptimiser, schema: Schema) -> None:
        """Begin with zeros."""
        self._schema, self._slots, self._step = schema, slots(optimiser), step_of(optimiser)
        self.steps = 0
        """Releases so far."""
        self.key = b""
        """Of the file that counts; empty where there is none."""
        self._next_key = b""
        self._old: HostFile | None = None
        self._new: HostFile | None = None
        self._offsets = self._layout()

    @property
    def files(self) -> int:
        """How many files the host brings to close a round: the old state's and the new one's."""
        return 2 if self._slots else 0

    def _layout(self) -> list[int]:
        offsets, position = [], 0
        for chunk in self._schema.chunks:
            offsets.append(position)
            if not chunk.dtype.integer:
                count = chunk.size // chunk.dtype.itemsize
                position += self._slots * count * chunk.dtype.wide.itemsize + TAG_SIZE
        return offsets

    def use(self, old: HostFile | None, new: HostFile | None) -> None:
        """Read `old` and write `new` from now on."""
        self._old, self._new = old, new

    def remembered(self, key: bytes, steps: int) -> None:
        """Go on with the file under `key`, after `steps` releases."""
        self.key, self.steps = key, steps

    def begin_pass(self) -> None:
        """Begin to write the state anew, under a new key."""
        self._next_key = os.urandom(_KEY_SIZE)

    def commit(self) -> None:
        """Let what the last pass wrote count: its round is released."""
        self.steps += 1
        if self._slots:
            self.key = self._next_key

    def step(self, index: int, update: Floats) -> Floats:
        """Return the step for the combined update of chunk `index`.

        Raises:
            RequestRefused: the host's file cannot be read or written, or is not the state.
        """
        if not self._slots or self._schema.chunks[index].dtype.integer:
            return update
        memory = self._load(index, len(update))
        step = self._step(update, memory, self.steps + 1)
        self._store(index, memory)
        return step

    def _load(self, index: int, count: int) -> Memory:
        if not self.key:
            return [np.zeros(count) for _ in range(self._slots)]
        wide = self._schema.chunks[index].dtype.wide
        if self._old is None:
            raise RequestRefused(Refusal.STORAGE)
        size = self._slots * count * wide.itemsize + TAG_SIZE
        sealed = self._old.read(size, self._offsets[index])
        try:
            plain = AESGCM(self.key).decrypt(_nonce(index), sealed, None)
        except InvalidTag:
            raise RequestRefused(
                Refusal.STORAGE, hint="the optimiser's file is not the last round's"
            ) from None
        kept = np.frombuffer(plain, wide).reshape(self._slots, count)
        return [row.astype(np.float64) for row in kept]

    def _store(self, index: int, memory: Memory) -> None:
        if self._new is None:
            raise RequestRefused(Refusal.STORAGE)
        wide = self._schema.chunks[index].dtype.wide
        plain = np.concatenate([row.astype(wide) for row in memory]).tobytes()
        sealed = AESGCM(self._next_key).encrypt(_nonce(index), plain, None)
        self._new.write(memoryview(sealed), self._offsets[index])


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")
