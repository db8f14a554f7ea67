"""Passes over sealed files: threads and chunks change no bit, and the result is the exact mean."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.mean import Admitted, Mean
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.enclave.workers import Workers
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.floats import narrow, widen
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import CHUNK_SIZE, DType, Schema, TensorSpec

COUNTS = {DType.FLOAT32: 200_001, DType.FLOAT16: 150_000, DType.BFLOAT16: 131_073}
SCHEMA = Schema(tensors=tuple(TensorSpec(name=d, dtype=d, shape=(n,)) for d, n in COUNTS.items()))


def payload(seed: int, scale: float) -> bytes:
    """Return random parameters of all three types."""
    rng = np.random.default_rng(seed)
    return b"".join(
        narrow(rng.standard_normal(n).astype(np.float32) * np.float32(scale), d).tobytes()
        for d, n in COUNTS.items()
    )


UPDATES = [payload(seed, 0.1) for seed in range(5)]
WEIGHTS = [3, 141, 59, 26, 5]
BASE = payload(99, 1.0)


def memory_file(data: bytes) -> HostFile:
    descriptor = os.memfd_create("test")
    os.pwrite(descriptor, data, 0)
    return HostFile(descriptor)


def admitted(number: int, fingerprinter: Fingerprinter) -> Admitted:
    """Seal update `number` and keep what admission keeps of it."""
    key = bytes([number + 1]) * 32
    cipher, last = AESGCM(key), len(SCHEMA.chunks)
    sealed = [bytes(layout.PRIVATE_HEADER.size + layout.TAG_SIZE)]
    marks = []
    for index, chunk in enumerate(SCHEMA.chunks, start=1):
        plain = UPDATES[number][chunk.offset : chunk.offset + chunk.size]
        nonce = layout.chunk_nonce(index, last=index == last)
        sealed.append(cipher.encrypt(nonce, plain, None))
        marks.append(fingerprinter.of(memoryview(sealed[-1]), serial=number, chunk=index))
    return Admitted(
        client=f"c{number}",
        organisation=f"o{number}",
        digest=Digest(bytes(32)),
        file=memory_file(b"".join(sealed)),
        chunks_at=0,
        content_key=memoryview(key),
        weight=WEIGHTS[number],
        shrink=1.0,
        fingerprints=tuple(marks),
        serial=number,
    )


@contextmanager
def collected(order: list[int]) -> Iterator[tuple[list[Admitted], HostFile, Fingerprinter]]:
    fingerprinter = Fingerprinter()
    updates = [admitted(number, fingerprinter) for number in order]
    base = memory_file(BASE)
    try:
        yield updates, base, fingerprinter
    finally:
        for file in (*(update.file for update in updates), base):
            file.close()


def run(order: list[int], threads: int) -> bytes:
    """Return the new model's payload."""
    with collected(order) as (updates, file, fingerprinter):
        workers = Workers(SecretMemory(), threads)
        agreed = Model(schema=SCHEMA, payload=BASE).digest()
        base = BaseModel.of_agreed_model(file, agreed, SCHEMA, Fingerprinter(), workers)
        base.read_from(file)
        mean = Mean(SCHEMA, 10.0, workers)
        digest = mean.run(updates, base, fingerprinter)
        assert digest == mean.digest == Model(schema=SCHEMA, payload=mean.model.tobytes()).digest()
        return mean.model.tobytes()


@pytest.fixture(scope="module")
def reference() -> bytes:
    return run([0, 1, 2, 3, 4], 1)


@pytest.mark.parametrize(
    ("order", "threads"),
    [([0, 1, 2, 3, 4], 2), ([4, 3, 2, 1, 0], 3), ([2, 0, 4, 1, 3], 4), ([1, 0, 2, 4, 3], 1)],
)
def test_order_and_threads_change_no_bit(reference: bytes, order: list[int], threads: int) -> None:
    assert len(SCHEMA.chunks) > 2 * threads or threads > 3
    assert run(order, threads) == reference


def test_the_model_is_the_base_and_the_exact_mean_rounded_once(reference: bytes) -> None:
    rng = np.random.default_rng(0)
    offset = 0
    for dtype, count in COUNTS.items():
        views = [
            widen(np.frombuffer(data, dtype.storage, count, offset), dtype)
            for data in (BASE, reference, *UPDATES)
        ]
        for i in (0, count - 1, *rng.integers(0, count, 60)):
            base, got, *updates = (Fraction(float(view[i])) for view in views)
            total = sum(u * w for u, w in zip(updates, WEIGHTS, strict=True))
            exact = base + total / sum(WEIGHTS)
            digits = {DType.FLOAT32: 24, DType.FLOAT16: 11, DType.BFLOAT16: 8}[dtype]
            power = np.floor(np.log2(abs(float(got)))) if got else -24
            last_place = Fraction(2) ** max(int(power) + 1 - digits, -24 if digits == 11 else -149)
            # bfloat16 is rounded by way of float32, which may turn a near tie.
            assert abs(got - exact) <= last_place / 2 * Fraction(65537, 65536) + Fraction(1, 2**44)
        offset += count * dtype.itemsize


def test_a_failed_pass_leaves_a_model_that_is_not_to_be_had() -> None:
    with collected([0, 1]) as (updates, file, fingerprinter):
        workers = Workers(SecretMemory())
        agreed = Model(schema=SCHEMA, payload=BASE).digest()
        base = BaseModel.of_agreed_model(file, agreed, SCHEMA, Fingerprinter(), workers)
        mean = Mean(SCHEMA, 10.0, workers)
        assert mean.digest is None
        base.read_from(file)
        mean.run(updates, base, fingerprinter)
        assert mean.digest is not None
        base.read_from(None)
        with pytest.raises(RequestRefused) as refused:
            mean.run(updates, base, fingerprinter)
        assert refused.value.refusal is Refusal.STORAGE
        assert mean.digest is None


def test_float16_saturates_and_never_becomes_infinite() -> None:
    schema = Schema(tensors=(TensorSpec(name="h", dtype=DType.FLOAT16, shape=(2,)),))
    mean = Mean(schema, 1.0, Workers(SecretMemory(), 1))
    mean._keep(schema.chunks[0], np.array([65_600.0, -1e9]))
    assert mean.model.view(np.float16).tolist() == [65504.0, -65504.0]


def test_a_model_with_a_nan_is_no_first_model() -> None:
    odd = bytearray(BASE)
    odd[CHUNK_SIZE * 3 - 4 : CHUNK_SIZE * 3] = np.float32(np.nan).tobytes()
    model = Model(schema=SCHEMA, payload=bytes(odd))
    file = memory_file(bytes(odd))
    with pytest.raises(RequestRefused) as refused:
        BaseModel.of_agreed_model(
            file, model.digest(), SCHEMA, Fingerprinter(), Workers(SecretMemory())
        )
    file.close()
    assert refused.value.refusal is Refusal.WRONG_MODEL
