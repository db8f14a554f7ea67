"""Passes over sealed files: order, threads and chunks change no bit, and the mean is exact."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fedenclave.enclave.aggregation import Aggregation
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.new_model import NewModel
from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.enclave.workers import Workers
from fedenclave.protocol import aggregation as rules
from fedenclave.protocol import tensors
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.floats import difference, narrow, widen
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import CHUNK_SIZE, DType, Schema, TensorSpec
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import Cohort, base_model, memory_file

COUNTS = {
    DType.FLOAT32: 200_001,
    DType.FLOAT16: 150_000,
    DType.BFLOAT16: 131_073,
    DType.FLOAT64: 70_001,
    DType.INT64: 33_000,
    DType.INT32: 5,
    DType.INT16: 3,
    DType.INT8: 140_000,
    DType.UINT8: 140_000,
}
SCHEMA = Schema(tensors=tuple(TensorSpec(name=d, dtype=d, shape=(n,)) for d, n in COUNTS.items()))
DIGITS = {DType.FLOAT32: 24, DType.FLOAT16: 11, DType.BFLOAT16: 8, DType.FLOAT64: 45}
"""Of a mantissa; of float64 those that the fixed point's 2**-46 leaves of values about 1."""
WEIGHTS = [3, 141, 59, 26, 5]
LOSSES = [[0.5], [0.1], [2.0], [0.0], [0.3]]
MEAN = replace(DEFAULT_RULES, max_abs=10.0)
RULES = [
    rules.MEAN,
    rules.Median(),
    rules.TrimmedMean(trim=0.25),
    rules.Krum(byzantine=1),
    rules.MultiKrum(byzantine=1, selected=3),
    rules.Bulyan(byzantine=0),
    rules.GeometricMedian(iterations=20, smoothing=1e-6, tolerance=1e-9),
    rules.QFedAvg(q=0.2, client_learning_rate=0.1, loss="loss"),
]
OPTIMISERS = [
    rules.Momentum(learning_rate=0.5, momentum=0.9),
    rules.Adagrad(eta=0.1, tau=1e-3),
    rules.Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3),
    rules.Yogi(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3),
]


def payload(seed: int, scale: float) -> bytes:
    """Return random parameters of every type."""
    rng = np.random.default_rng(seed)
    parts = []
    for dtype, count in COUNTS.items():
        if dtype.integer:
            parts.append(rng.integers(0, 100, count).astype(dtype.storage))
        else:
            parts.append(narrow(rng.standard_normal(count) * scale, dtype))
    return b"".join(part.tobytes() for part in parts)


BASE = payload(99, 1.0)


def moved(seed: int) -> bytes:
    """Return the base model after training."""
    rng = np.random.default_rng(seed)
    parts, offset = [], 0
    for dtype, count in COUNTS.items():
        old = np.frombuffer(BASE, dtype.storage, count, offset)
        offset += count * dtype.itemsize
        if dtype.integer:
            parts.append((old + rng.integers(0, 20, count)).astype(dtype.storage))
        else:
            step = rng.standard_normal(count).astype(dtype.wide) * 0.1
            parts.append(narrow(widen(old, dtype) + step, dtype))
    return b"".join(part.tobytes() for part in parts)


COHORT = Cohort(
    schema=SCHEMA, base=BASE, trained=[moved(k) for k in range(5)], weights=WEIGHTS, metrics=LOSSES
)


def rules_of(rule: rules.Rule, server: rules.ServerOptimiser = rules.NO_OPTIMISER) -> Rules:
    weighting = "uniform" if isinstance(rule, rules.QFedAvg) else "examples"
    return replace(MEAN, rule=rule, server=server, weighting=weighting)


@pytest.fixture(scope="module")
def reference() -> bytes:
    return COHORT.released(MEAN, threads=1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.RULE)
def test_order_threads_and_chunks_change_no_bit(
    rule: rules.Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = COHORT.released(rules_of(rule), threads=1)
    assert COHORT.released(rules_of(rule), order=[4, 2, 0, 1, 3], threads=3) == agreed
    # Smaller chunks, and a tile that holds a few blocks only.
    monkeypatch.setattr(tensors, "CHUNK_SIZE", CHUNK_SIZE // 4)
    monkeypatch.setattr("fedenclave.enclave.tile._SIZE", 1)
    smaller = replace_schema(COHORT, Schema(tensors=SCHEMA.tensors))
    assert len(smaller.schema.chunks) > 2 * len(SCHEMA.chunks)
    assert smaller.released(rules_of(rule), order=[3, 1, 2, 0, 4]) == agreed


def replace_schema(cohort: Cohort, schema: Schema) -> Cohort:
    return replace(cohort, schema=schema)


@pytest.mark.parametrize("server", OPTIMISERS, ids=lambda server: server.OPTIMISER)
def test_optimisers_depend_on_no_order_threads_or_chunks(
    server: rules.ServerOptimiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = COHORT.released(rules_of(rules.MEAN, server), threads=1)
    assert agreed != COHORT.released(MEAN)
    monkeypatch.setattr(tensors, "CHUNK_SIZE", CHUNK_SIZE // 4)
    smaller = replace_schema(COHORT, Schema(tensors=SCHEMA.tensors))
    assert smaller.released(rules_of(rules.MEAN, server), order=[3, 1, 2, 0, 4]) == agreed


def test_the_model_is_the_base_and_the_exact_mean_rounded_once(reference: bytes) -> None:
    rng = np.random.default_rng(0)
    offset = 0
    updates = [difference(SCHEMA, trained, BASE) for trained in COHORT.trained]
    for dtype, count in COUNTS.items():
        stored = (dtype.storage, dtype.storage, *(dtype.update_storage for _ in updates))
        views = [
            widen(np.frombuffer(data, storage, count, offset), dtype)
            for data, storage in zip((BASE, reference, *updates), stored, strict=True)
        ]
        for i in (0, count - 1, *rng.integers(0, count, 60)):
            base, got, *moves = (Fraction(float(view[i])) for view in views)
            total = sum(u * w for u, w in zip(moves, WEIGHTS, strict=True))
            exact = base + total / sum(WEIGHTS)
            if dtype.integer:
                assert got == round(exact) or abs(exact - got) < Fraction(1, 2) + Fraction(1, 2**16)
                continue
            digits = DIGITS[dtype]
            power = np.floor(np.log2(abs(float(got)))) if got else -24
            last_place = Fraction(2) ** max(int(power) + 1 - digits, -24 if digits == 11 else -149)
            # bfloat16 is rounded by way of float32, which may turn a near tie.
            assert abs(got - exact) <= last_place / 2 * Fraction(65537, 65536) + Fraction(1, 2**44)
        offset += count * dtype.itemsize


def test_a_failed_pass_leaves_a_model_that_is_not_to_be_had() -> None:
    with COHORT.collected(MEAN) as (updates, file):
        workers = Workers(SecretMemory())
        base = base_model(SCHEMA, BASE, file, workers)
        aggregation = Aggregation(SCHEMA, MEAN, workers, SecretMemory(), 5)
        assert aggregation.digest is None
        aggregation.run(updates, base)
        assert aggregation.digest is not None
        base.read_from(None)
        with pytest.raises(RequestRefused) as refused:
            aggregation.run(updates, base)
        assert refused.value.refusal is Refusal.STORAGE
        assert aggregation.digest is None


def test_float16_saturates_and_integers_stop_at_their_type() -> None:
    specs = (("h", DType.FLOAT16), ("c", DType.INT64), ("u", DType.UINT8))
    schema = Schema(tensors=tuple(TensorSpec(name=n, dtype=d, shape=(2,)) for n, d in specs))
    arrays = {
        "h": np.array([65504, -65504], np.float16),
        "c": np.array([2**63 - 2, -(2**63)], np.int64),
        "u": np.array([250, 3], np.uint8),
    }
    first = bytes(tensors.pack(schema, arrays))
    file, workers = memory_file(first), Workers(SecretMemory(), 1)
    base, model = base_model(schema, first, file, workers), NewModel(schema)
    for index, step in enumerate(([1e5, -1e9], [9.0, -9.0], [9.0, -9.0])):
        window = Scratch(SecretMemory()).window(schema.chunks[index])
        window.double[:] = step
        model.keep(index, window, base)
    file.close()
    kept = tensors.unpack(schema, model.payload.tobytes())
    assert kept["h"].tolist() == [65504.0, -65504.0]
    assert kept["c"].tolist() == [2**63 - 1, -(2**63)]
    assert kept["u"].tolist() == [255, 0]


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
