"""Quantised weights: their values are those that ONNX Runtime computes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.quantized import (
    Quantized,
    dequantized,
    dequantized_at,
    pack,
    unpack,
)
from fourier_converters.onnx.uses import Use, find_uses
from fourier_format.adapter import Array
from tests.fourier_converters.graphs import save
from tests.fourier_converters.onnx.quantised import (
    IN,
    Layer,
    W,
    by_microsoft,
    cast_and_mul,
    dequantize_linear,
    integer,
    nbits,
    run_plainly,
)

NBITS: Final = {
    f"MatMulNBits int{bits}, {zero} zero points, blocks of {block}": nbits(bits, block, zero)
    for bits in (2, 4, 8)
    for block in (16, 32)
    for zero in ("none", "packed", "float")
    if (bits, zero) != (8, "float")  # ONNX Runtime refuses that
}
QDQ: Final = {
    f"QDQ {np.dtype(dtype).name} {'symmetric' if symmetric else 'asymmetric'} {each} {operator}": (
        dequantize_linear(each, dtype, symmetric=symmetric, operator=operator)
    )
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.uint4)
    for symmetric in (True, False)
    for each in ("tensor", "channel", "block")
    for operator in ("MatMul", "Gemm")
    if not symmetric or np.dtype(dtype).name.startswith("i")
}
MICROSOFT: Final = {
    f"ONNX Runtime's QDQ {np.dtype(dtype).name} per {each}": (
        by_microsoft(each, dtype, symmetric=False)
    )
    for dtype in (np.uint8, np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.uint4)
    for each in ("tensor", "channel")
}
OTHERS: Final = {
    **{f"Cast and Mul per {each}": cast_and_mul(each) for each in ("tensor", "channel")},
    **{
        f"{form} per {each}": integer(form, each)
        for form in ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
        for each in ("tensor", "channel")
    },
    "float16 MatMulNBits": nbits(dtype=np.float16),
    "float16 scales of a DequantizeLinear": dequantize_linear("channel", scales=np.float16),
    "float16 Cast and Mul": cast_and_mul(dtype=np.float16),
}
FORMS: Final = NBITS | QDQ | MICROSOFT | OTHERS


def use_of(layer: Layer, folder: Path) -> tuple[Model, Use, Quantized]:
    """Returns the one quantised weight of a layer."""
    model = Model(save(layer.model(), folder / "m.onnx"))
    (use,) = [use for use in find_uses(model) if use.quantized is not None]
    assert use.quantized is not None
    return model, use, use.quantized


@pytest.mark.parametrize("name", FORMS)
def test_the_values_are_those_that_onnx_runtime_computes_with(name: str, tmp_path: Path) -> None:
    layer = FORMS[name]
    model, use, quantized = use_of(layer, tmp_path)

    values = use.view.apply(dequantized(quantized, model))

    expected = run_plainly(tmp_path / "m.onnx", x=np.eye(IN, dtype=layer.dtype)).T
    bar = 1e-6 if layer.dtype == np.float32 else 2e-3
    assert values.dtype == np.float32
    assert values.shape == W.shape
    assert np.abs(values - expected).max() <= bar * np.abs(expected).max()
    assert not np.array_equal(values, W)


@pytest.mark.parametrize("name", FORMS)
def test_single_values_are_those_of_the_whole(name: str, tmp_path: Path) -> None:
    model, use, quantized = use_of(FORMS[name], tmp_path)
    rows, columns = (grid.reshape(-1) for grid in np.indices(W.shape))

    index = use.view.locate((rows, columns))

    whole = use.view.apply(dequantized(quantized, model))
    assert np.array_equal(dequantized_at(quantized, model, index), whole[rows, columns])


@pytest.mark.parametrize("name", NBITS)
def test_packing_gives_the_bytes_that_were_unpacked(name: str, tmp_path: Path) -> None:
    model, _, quantized = use_of(FORMS[name], tmp_path)

    codes, scale, zero = pack(unpack(quantized, model), quantized)

    assert codes.tobytes() == model.array(quantized.codes).tobytes()
    assert np.array_equal(scale, model.array(quantized.scale))
    assert (zero is None) == (quantized.zero is None)
    if zero is not None and quantized.zero is not None:
        assert zero.tobytes() == model.array(quantized.zero).tobytes()


@given(data=st.data())
def test_any_bytes_are_unpacked_and_packed_again(data: st.DataObject) -> None:
    bits, block = data.draw(st.sampled_from([2, 4, 8])), data.draw(st.sampled_from([8, 16]))
    rows, blocks = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))

    def drawn(size: int) -> Array:
        return np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)

    tensors = {
        "codes": drawn(rows * blocks * block * bits // 8),
        "scale": np.ones(rows * blocks, np.float32),
        "zero": drawn(rows * (-(-blocks * bits // 8))),
    }
    odd = blocks * bits % 8
    if odd:  # what fills the last byte means nothing
        tensors["zero"] = tensors["zero"].reshape(rows, -1).copy()
        tensors["zero"][:, -1] &= 2**odd - 1
    where, scale, zeros = (Value(0, name) for name in tensors)
    quantized = Quantized("", where, scale, zeros, (rows, blocks * block), 1, block, bits)

    codes, _, zero = pack(unpack(quantized, _Tensors(tensors)), quantized)

    assert codes.tobytes() == tensors["codes"].tobytes()
    assert zero is not None
    assert zero.tobytes() == tensors["zero"].tobytes()


BLOCKS: Final = nbits(zero="packed")
CHANNELS: Final = dequantize_linear("channel", symmetric=False)


@pytest.mark.parametrize(
    ("layer", "change", "why"),
    [
        (BLOCKS, {"w_scales": np.ones((24, 2), np.float32)}, "a scale for every block"),
        (BLOCKS, {"w_Q": np.zeros((24, 3, 4), np.uint8)}, "codes for every value"),
        (BLOCKS, {"w_zero_points": np.zeros((24, 1), np.uint8)}, "zero points for every block"),
        (CHANNELS, {"w_scale": np.ones(23, np.float32)}, "a scale for every channel"),
        (CHANNELS, {"w_zero_point": np.zeros(5, np.int8)}, "a zero point for every channel"),
    ],
)
def test_tensors_of_the_wrong_size_are_no_weight(
    layer: Layer, change: dict[str, Array], why: str, tmp_path: Path
) -> None:
    broken = Layer(layer.body, layer.arrays | change)
    model = Model(save(broken.model(), tmp_path / "m.onnx"))

    assert [use for use in find_uses(model) if use.quantized is not None] == [], why


class _Tensors(Model):
    """Arrays by name in place of a model."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def array(self, value: Value) -> Array:
        return self._arrays[value.name]

    def tensor(self, value: Value) -> Any:
        return None if value.name in self._arrays else self
