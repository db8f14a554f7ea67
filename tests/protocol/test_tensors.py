"""The flat layout: what is packed comes back, chunks tile it, and odd schemas are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.codec import encode
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.floats import all_finite
from fedenclave.protocol.model import Model, model_file_head
from fedenclave.protocol.sealed_update import TAG_SIZE, chunk_offsets, sealed_size
from fedenclave.protocol.tensors import (
    CHUNK_SIZE,
    MAX_NAME,
    MAX_PARAMETERS,
    MAX_RANK,
    DType,
    Schema,
    TensorSpec,
    pack,
    schema_of,
    unpack,
)

ELEMENTS = CHUNK_SIZE // 4
# Sizes about the edges of a chunk, for both widths of element.
COUNTS = st.sampled_from(
    [0, 1, 2, ELEMENTS - 1, ELEMENTS, ELEMENTS + 1, 2 * ELEMENTS, 3 * ELEMENTS]
)
SPECS = st.lists(st.tuples(st.sampled_from(list(DType)), COUNTS), min_size=1, max_size=5)


def schema(*specs: tuple[DType, tuple[int, ...]]) -> Schema:
    tensors = (
        TensorSpec(name=f"t{i}", dtype=dtype, shape=shape) for i, (dtype, shape) in enumerate(specs)
    )
    return Schema(tensors=tuple(tensors))


def arrays_of(layout: Schema) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        spec.name: rng.integers(0, 255, (spec.count, spec.dtype.itemsize), np.uint8)
        .view(spec.dtype.storage)
        .reshape(spec.shape)
        for spec in layout.tensors
    }


@given(SPECS.filter(lambda specs: sum(count for _, count in specs) > 0))
def test_chunks_tile_the_payload_and_hold_one_dtype_each(specs: list[tuple[DType, int]]) -> None:
    layout = schema(*((dtype, (count,)) for dtype, count in specs))
    position = 0
    for chunk in layout.chunks:
        assert chunk.offset == position
        assert 0 < chunk.size <= CHUNK_SIZE
        assert chunk.size % chunk.dtype.itemsize == 0
        position += chunk.size
    assert position == layout.payload_size
    for spec, offset in layout.layout():
        inside = [c for c in layout.chunks if c.offset <= offset < c.offset + c.size]
        assert spec.count == 0 or inside[0].dtype is spec.dtype
    offsets = chunk_offsets(layout)
    assert len(offsets) == len(layout.chunks) + 1
    assert offsets[-1] + layout.chunks[-1].size + TAG_SIZE == sealed_size(layout)


@given(SPECS.filter(lambda specs: sum(count for _, count in specs) > 0))
def test_what_is_packed_comes_back(specs: list[tuple[DType, int]]) -> None:
    layout = schema(*((dtype, (count, 1)) for dtype, count in specs))
    arrays = arrays_of(layout)
    payload = pack(layout, arrays)
    assert len(payload) == layout.payload_size
    back = unpack(layout, payload)
    assert list(back) == [spec.name for spec in layout.tensors]
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()


def test_groups_by_dtype_and_keeps_the_schemas_order_within() -> None:
    layout = schema((DType.BFLOAT16, (1,)), (DType.FLOAT32, ()), (DType.FLOAT16, (1,)))
    arrays = {
        "t0": np.array([0x3F80], "<u2"),
        "t1": np.array(1.0, "<f4"),
        "t2": np.array([1.0], "<f2"),
    }
    assert pack(layout, arrays).hex() == "0000803f" + "003c" + "803f"
    assert unpack(layout, pack(layout, arrays))["t1"].shape == ()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("t0", np.zeros(3, np.float32)),
        ("t0", np.zeros((2, 1), np.float32)),
        ("t0", np.zeros(2, np.float64)),
        ("t0", np.zeros(2, ">f4")),
        ("other", np.zeros(2, np.float32)),
    ],
)
def test_a_tensor_of_another_shape_dtype_or_name_is_not_packed(
    name: str, array: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="tensor"):
        pack(schema((DType.FLOAT32, (2,))), {name: array})


def test_a_payload_of_another_length_is_refused() -> None:
    layout = schema((DType.FLOAT32, (2,)))
    assert Model.from_bytes(model_file_head(layout) + bytes(8)).payload == bytes(8)
    with pytest.raises(MalformedMessage, match="not a model file"):
        Model.from_bytes(b"FEM2" + model_file_head(layout)[4:] + bytes(8))
    for size in (0, 7, 9):
        with pytest.raises(MalformedMessage, match="want 8"):
            unpack(layout, bytes(size))
        with pytest.raises(MalformedMessage, match="want 8"):
            Model.from_bytes(model_file_head(layout) + bytes(size))


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [("a", "float32", [0])],
        [("a", "float32", [1]), ("a", "float16", [1])],
        [("a", "complex64", [1])],
        [("", "float32", [1])],
        [("a" * (MAX_NAME + 1), "float32", [1])],
        [("a", "float32", [1] * (MAX_RANK + 1))],
        [("a", "float32", [MAX_PARAMETERS + 1])],
        [("a", "float32", [2**32, 2**32])],  # 2**64: 0 in a machine's word
        [("a", "float32", [2**64 - 1] * MAX_RANK)],
        [("a", "float32", [1]), ("b", "float32", [0, 2**63])],  # no bytes, and no numpy shape
    ],
)
def test_a_schema_outside_the_limits_is_malformed(tensors: list[tuple[str, str, object]]) -> None:
    plain = [{"name": n, "dtype": d, "shape": s} for n, d, s in tensors]
    with pytest.raises(MalformedMessage):
        Schema.from_bytes(encode({"tensors": plain}))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=4))
def test_every_schema_that_decodes_can_be_laid_out(shape: list[int]) -> None:
    plain = [{"name": "a", "dtype": "float16", "shape": shape}]
    plain.append({"name": "b", "dtype": "float32", "shape": [1]})
    try:
        layout = Schema.from_bytes(encode({"tensors": plain}))
    except MalformedMessage:
        return
    if layout.payload_size < 1 << 20:
        assert unpack(layout, bytes(layout.payload_size))["a"].shape == tuple(shape)


def test_the_schema_of_arrays_names_only_what_is_averaged() -> None:
    assert schema_of({"a": np.zeros((2, 3), np.float16)}).tensors[0].shape == (2, 3)
    for array in (np.zeros(2, np.complex64), np.zeros(2, np.bool_), np.zeros(0, np.float32)):
        with pytest.raises(ValueError, match=r"want one of float32, float16|parameters"):
            schema_of({"a": array})


def test_a_models_digest_is_that_of_its_names_shapes_and_bits() -> None:
    def digest_of(name: str, shape: tuple[int, ...], payload: bytes) -> bytes:
        spec = TensorSpec(name=name, dtype=DType.FLOAT32, shape=shape)
        model = Model(schema=Schema(tensors=(spec,)), payload=payload)
        assert Model.from_bytes(model.to_bytes()).digest() == model.digest()
        return model.digest()

    one = bytes(4 * 9 * ELEMENTS)  # nine chunks: two threads hash them
    changed = bytearray(one)
    changed[-1] = 1
    digests = {
        digest_of("a", (9 * ELEMENTS,), one),
        digest_of("a", (9 * ELEMENTS,), bytes(changed)),
        digest_of("b", (9 * ELEMENTS,), one),
        digest_of("a", (9, ELEMENTS), one),
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("dtype", "bits"), [("float32", "0000807f"), ("float16", "007e"), ("bfloat16", "80ff")]
)
def test_one_odd_element_makes_a_payload_not_finite(dtype: str, bits: str) -> None:
    layout = schema((DType(dtype), (ELEMENTS * 2 + 1,)))
    payload = bytearray(layout.payload_size)
    assert all_finite(layout, payload)
    payload[-len(bits) // 2 :] = bytes.fromhex(bits)
    assert not all_finite(layout, payload)
