"""Rounding against torch, which somebody else wrote."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.floats import difference, narrow, widen
from fedenclave.protocol.tensors import DType, Schema, TensorSpec

torch = pytest.importorskip("torch")

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def torch_bits(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Return the stored elements that torch makes of float32 `values`."""
    narrow_to = {DType.FLOAT16: torch.float16, DType.BFLOAT16: torch.bfloat16}[dtype]
    return torch.from_numpy(values).to(narrow_to).view(torch.int16).numpy().view(np.uint16)


def patterns() -> np.ndarray:
    """Return float32 values at and about every place where rounding to 16 bits decides."""
    high = np.arange(0, 1 << 16, dtype=np.uint32) << np.uint32(16)
    lows = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = (high[:, None] | lows).reshape(-1).view(np.float32)
    return values[np.isfinite(values)]


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_narrowing_rounds_as_torch_does(dtype: DType) -> None:
    values = patterns()
    with np.errstate(over="ignore"):
        ours = narrow(values, dtype).view(np.uint16)
    assert np.array_equal(ours, torch_bits(values, dtype))


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_narrowing_any_finite_float_rounds_as_torch_does(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    with np.errstate(over="ignore"):
        for dtype in (DType.FLOAT16, DType.BFLOAT16):
            assert np.array_equal(narrow(values, dtype).view(np.uint16), torch_bits(values, dtype))
    assert narrow(values, DType.FLOAT32).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_widening_is_exact_and_narrowing_undoes_it(dtype: DType) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    stored = bits.view(dtype.storage)
    wide = widen(stored, dtype)
    theirs = {DType.FLOAT16: torch.float16, DType.BFLOAT16: torch.bfloat16}[dtype]
    oracle = torch.from_numpy(bits.view(np.int16)).view(theirs).float().numpy()
    assert np.array_equal(wide, oracle, equal_nan=True)
    finite = np.isfinite(wide)
    assert np.array_equal(narrow(wide[finite], dtype).view(np.uint16), bits[finite])


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.BFLOAT16])
def test_a_difference_of_not_numbers_is_never_a_number(dtype: DType) -> None:
    """Adding half a unit to the bits of a NaN must not carry it over into a zero."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    odd = bits[~np.isfinite(widen(bits.view(dtype.storage), dtype))]
    schema = Schema(tensors=(TensorSpec(name="a", dtype=dtype, shape=(len(odd),)),))
    update = difference(schema, odd.tobytes(), bytes(2 * len(odd)))
    stored = np.frombuffer(bytes(update), dtype.storage)
    assert not np.isfinite(widen(stored, dtype)).any()


def test_a_difference_is_taken_in_float32_and_rounded_once() -> None:
    specs = [(DType.FLOAT32, "<f4"), (DType.FLOAT16, "<f2")]
    for dtype, storage in specs:
        schema = Schema(tensors=(TensorSpec(name="a", dtype=dtype, shape=(3,)),))
        trained, base = np.array([1.5, 2, -3], storage), np.array([1, 2.5, 60000], storage)
        update = np.frombuffer(
            bytes(difference(schema, trained.tobytes(), base.tobytes())), storage
        )
        want = (trained.astype(np.float32) - base.astype(np.float32)).astype(storage)
        assert np.array_equal(update, want)
        with pytest.raises(ValueError, match="schema"):
            difference(schema, trained.tobytes(), base.tobytes()[:-1])
