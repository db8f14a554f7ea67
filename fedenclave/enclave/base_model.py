"""The base model lies with the host; the enclave keeps a fingerprint of every chunk of it.

So the enclave holds one model in memory (the one it is making), not two.

SPEC.md, section 11.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.scratch import Scratch, Window
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.digests import Digest, equal
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.model import model_digest
from fedenclave.protocol.tensors import Schema


class BaseModel:
    """One model's fingerprints, and the host's file it is read from."""

    def __init__(
        self, schema: Schema, fingerprinter: Fingerprinter, serial: int, marks: Sequence[bytes]
    ) -> None:
        """Keep the fingerprints `marks`, made with `serial`."""
        self._schema = schema
        self._fingerprinter = fingerprinter
        self._serial = serial
        self._marks = marks
        self._file: HostFile | None = None

    @classmethod
    def of_agreed_model(
        cls,
        file: HostFile,
        agreed: Digest,
        schema: Schema,
        fingerprinter: Fingerprinter,
        workers: Workers,
        serial: int = 0,
    ) -> BaseModel:
        """Read a model that this run has not made, and fingerprint it; see `of_one_of`.

        It is the federation's first one, or another enclave's release with a `serial` above all
        earlier ones.
        """
        return cls.of_one_of(file, [agreed], schema, fingerprinter, workers, serial)[0]

    @classmethod
    def of_one_of(
        cls,
        file: HostFile,
        agreed: Sequence[Digest],
        schema: Schema,
        fingerprinter: Fingerprinter,
        workers: Workers,
        serial: int = 0,
    ) -> tuple[BaseModel, Digest]:
        """Read a model with one of these digests, fingerprint it, and say with which.

        Raises:
            RequestRefused: it has none of them, or it holds a NaN or an infinity.
        """

        def read(index: int, scratch: Scratch) -> tuple[bytes, bytes]:
            chunk = schema.chunks[index]
            window = scratch.window(chunk)
            plain = window.plain
            file.read_into(plain, chunk.offset)
            if not chunk.dtype.integer and not np.isfinite(window.parameters()).all():
                raise RequestRefused(
                    Refusal.WRONG_MODEL, hint="the model holds a NaN or an infinity"
                )
            mark = fingerprinter.of(plain, serial=serial, chunk=index)
            return hashlib.sha256(plain).digest(), mark

        read_chunks = workers.each(len(schema.chunks), read)
        digest = model_digest(schema.digest, (digest for digest, _ in read_chunks))
        if not any(equal(digest, one) for one in agreed):
            raise RequestRefused(
                Refusal.WRONG_MODEL,
                hint="the manifest, or the release, names another model",
            )
        return cls(schema, fingerprinter, serial, [mark for _, mark in read_chunks]), digest

    @classmethod
    def of_own_model(
        cls,
        payload: memoryview,
        schema: Schema,
        fingerprinter: Fingerprinter,
        serial: int,
        workers: Workers,
    ) -> BaseModel:
        """Fingerprint a model that this enclave has just made. `serial` is above all earlier."""

        def mark(index: int, _: Scratch) -> bytes:
            chunk = schema.chunks[index]
            data = payload[chunk.offset : chunk.offset + chunk.size]
            return fingerprinter.of(data, serial=serial, chunk=index)

        marks = workers.each(len(schema.chunks), mark)
        return cls(schema, fingerprinter, serial, marks)

    def read_from(self, file: HostFile | None) -> None:
        """Read chunks from `file` from now on."""
        self._file = file

    def read(self, index: int, window: Window) -> None:
        """Read chunk `index` into the window's plaintext buffer.

        Raises:
            RequestRefused: the host's file cannot be read or holds something else.
        """
        plain = window.plain
        if self._file is None:
            raise RequestRefused(Refusal.STORAGE)
        self._file.read_into(plain, self._schema.chunks[index].offset)
        if not self._fingerprinter.matches(
            self._marks[index], plain, serial=self._serial, chunk=index
        ):
            raise RequestRefused(
                Refusal.WRONG_MODEL, hint="the base model's file is not the round's base model"
            )
