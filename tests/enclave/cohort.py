"""Aggregation without a process: updates sealed and kept as admission keeps them, then one pass."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave import norms
from fedenclave.enclave.aggregation import Aggregation
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.enclave.updates import Admitted
from fedenclave.enclave.workers import Workers
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.floats import difference, widen
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import Schema, pack, schema_of, unpack

Arrays = Mapping[str, np.ndarray]


def memory_file(data: bytes = b"") -> HostFile:
    descriptor = os.memfd_create("test")
    os.pwrite(descriptor, data, 0)
    return HostFile(descriptor)


@dataclass(kw_only=True)
class Cohort:
    """A base model and what the clients made of it."""

    schema: Schema
    base: bytes
    trained: Sequence[bytes]
    weights: Sequence[int]
    metrics: Sequence[Sequence[float]] = ()
    shrink: Sequence[float] = ()
    names: Sequence[str] = field(default_factory=list)

    @classmethod
    def of(cls, base: Arrays, trained: Sequence[Arrays], weights: Sequence[int], **more) -> Cohort:
        schema = schema_of(base)
        return cls(
            schema=schema,
            base=bytes(pack(schema, base)),
            trained=[bytes(pack(schema, arrays)) for arrays in trained],
            weights=weights,
            **more,
        )

    def admitted(self, number: int, rules: Rules, fingerprinter: Fingerprinter) -> Admitted:
        key, update = (
            bytes([number + 1]) * 32,
            difference(self.schema, self.trained[number], self.base),
        )
        cipher, last = AESGCM(key), len(self.schema.chunks)
        sealed = [bytes(layout.private_header(len(rules.reported)).size + layout.TAG_SIZE)]
        marks, squares = [], []
        for index, chunk in enumerate(self.schema.chunks, start=1):
            plain = update[chunk.offset : chunk.offset + chunk.size]
            nonce = layout.chunk_nonce(index, last=index == last)
            sealed.append(cipher.encrypt(nonce, bytes(plain), None))
            marks.append(fingerprinter.of(memoryview(sealed[-1]), serial=number, chunk=index))
            if not chunk.dtype.integer:
                values = widen(np.frombuffer(plain, chunk.dtype.update_storage), chunk.dtype)
                squares.extend(norms.judged_squares(values, rules.max_abs))
        return Admitted(
            client=self.names[number] if self.names else f"c{number:03d}",
            organisation=f"o{number}",
            digest=Digest(bytes(32)),
            file=memory_file(b"".join(sealed)),
            chunks_at=0,
            content_key=memoryview(key),
            weight=1 if rules.weighting == "uniform" else self.weights[number],
            shrink=self.shrink[number] if self.shrink else 1.0,
            square_norm=math.fsum(squares),
            metrics=tuple(self.metrics[number]) if self.metrics else (),
            fingerprints=tuple(marks),
            serial=number,
            fingerprinter=fingerprinter,
        )

    @contextmanager
    def collected(
        self, rules: Rules, order: Sequence[int] | None = None
    ) -> Iterator[tuple[list[Admitted], HostFile]]:
        fingerprinter = Fingerprinter()
        order = range(len(self.trained)) if order is None else order
        updates = [self.admitted(number, rules, fingerprinter) for number in order]
        base = memory_file(self.base)
        try:
            yield updates, base
        finally:
            for file in (*(update.file for update in updates), base):
                file.close()

    def released(
        self, rules: Rules, *, order: Sequence[int] | None = None, threads: int = 2
    ) -> bytes:
        """Return the new model's payload."""
        with self.collected(rules, order) as (updates, file):
            workers, memory = _workers(threads), SecretMemory()
            base = base_model(self.schema, self.base, file, workers)
            aggregation = Aggregation(self.schema, rules, workers, memory, len(updates))
            states = (memory_file(), memory_file()) if aggregation.state.files else (None, None)
            aggregation.state.use(*states)
            digest = aggregation.run(updates, base)
            payload = aggregation.model.payload.tobytes()
            assert digest == Model(schema=self.schema, payload=payload).digest()
            for state in states:
                if state is not None:
                    state.close()
            return payload

    def released_arrays(self, rules: Rules) -> dict[str, np.ndarray]:
        return unpack(self.schema, self.released(rules))


@cache
def _workers(threads: int) -> Workers:
    """Secret memory is never given back: one set of threads for all tests."""
    return Workers(SecretMemory(), threads)


def base_model(schema: Schema, payload: bytes, file: HostFile, workers: Workers) -> BaseModel:
    agreed = Model(schema=schema, payload=payload).digest()
    base = BaseModel.of_agreed_model(file, agreed, schema, Fingerprinter(), workers)
    base.read_from(file)
    return base
