"""Tracing: from what a node reads back to the tensor that is stored, and the view between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import numpy as np

from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.operators import MICROSOFT, ONNX, PASSED
from fourier_converters.onnx.protos import attribute
from fourier_converters.onnx.quantized import Quantized, group_shape
from fourier_converters.onnx.tensors import ELEMENT_TYPES, FLOATS, dtype_of
from fourier_converters.onnx.views import Reshaped, Step, Transposed, View
from fourier_format.dtypes import DTYPES

_CODES = frozenset({"I8", "U8"})
_WIDER = frozenset({"I16", "U16", "I32"})
"""What DequantizeLinear reads beside them: wide weights, and the biases of static quantisation."""
_FOUR_BITS = frozenset({21, 22})
_MOST_NUMBERS = 64
"""Axes that a shape may have, and parts that a Split may make."""
MOST_PASSED: Final = 64
"""Nodes through which a weight is followed; exporters write a handful."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an operand comes from.

    Attributes:
        value: The stored tensor; of a quantised weight its codes.
        shape: The shape of its values.
        dtype: The stored dtype; "F32" for quantised weights.
        view: From the stored values to the operand.
        operand_dtype: The dtype in which the node reads it, after Casts.
        quantized: How it is quantised, None where it is not.
    """

    value: Value
    shape: tuple[int, ...]
    dtype: str
    view: View
    operand_dtype: str
    quantized: Quantized | None = None


def trace(model: Model, value: Value) -> Origin | None:
    """Returns where `value` comes from; None where something computes it."""
    passed: list[tuple[int, Any]] = []
    while (found := _stored(model, value)) is None:
        node = model.producer(value)
        if node is None or not is_passed(node) or len(passed) == MOST_PASSED:
            return None
        passed.append((value.scope, node))
        value = model.resolve(value.scope, node.input[0])
    stored, shape, dtype, quantized = found
    view = View(shape)
    operand_dtype = dtype if quantized is None else dequantized_dtype(model, quantized)
    for scope, node in reversed(passed):
        step = _step(model, scope, node, view.result)
        if step is None:
            return None
        view = view.then(step)
        if node.op_type == "Cast":
            operand_dtype = ELEMENT_TYPES.get(attribute(node, "to", 0), "")
            if operand_dtype not in FLOATS:
                return None
    return Origin(stored, shape, dtype, view, operand_dtype, quantized)


def dequantized_dtype(model: Model, quantized: Quantized) -> str:
    """Returns the dtype in which a quantised weight is computed with: that of its scales.

    Or what the operator says instead.
    """
    return quantized.computed or dtype_of(model.tensor(quantized.scale)) or "F32"


def is_passed(node: Any) -> bool:
    """Whether a weight is followed through `node`."""
    return node.op_type in PASSED and node.domain in ONNX and bool(node.input)


def is_dequantizer(node: Any) -> bool:
    """Whether it is ONNX's DequantizeLinear, or ONNX Runtime's of 16 and 4 bits before opset 21."""
    return node.op_type == "DequantizeLinear" and node.domain in ONNX | {MICROSOFT}


def _stored(
    model: Model, value: Value
) -> tuple[Value, tuple[int, ...], str, Quantized | None] | None:
    tensor = model.tensor(value)
    if tensor is not None:
        dtype = dtype_of(tensor)
        if dtype in FLOATS and dtype is not None:
            return value, tuple(tensor.dims), dtype, None
        return None
    quantized = dequantized_by(model, value)
    if quantized is None:
        return None
    return quantized.codes, quantized.shape, "F32", quantized


def dequantized_by(model: Model, value: Value) -> Quantized | None:
    """Returns the quantised weight that becomes `value` by DequantizeLinear, or by Cast and Mul."""
    node = model.producer(value)
    if node is None:
        return None
    if is_dequantizer(node):
        return _dequantize_linear(model, value.scope, node)
    weight_only = node.op_type == "Mul" and node.domain in ONNX
    return _cast_and_mul(model, value.scope, node) if weight_only else None


def _dequantize_linear(model: Model, scope: int, node: Any) -> Quantized | None:
    codes, scale, *zeros = (model.resolve(scope, name) for name in node.input if name)
    stored, scales = model.tensor(codes), model.tensor(scale)
    zero = zeros[0] if zeros else None
    wider = stored is not None and dtype_of(stored) in _WIDER
    if not (wider or _are_codes(stored)) or scales is None or (zero and model.tensor(zero) is None):
        return None
    shape = tuple(stored.dims)
    size, block = math.prod(scales.dims), attribute(node, "block_size", 0)
    said = attribute(node, "output_dtype", 0)
    computed = ELEMENT_TYPES.get(said, "") if said else ""
    if block < 0 or (block and node.domain == MICROSOFT) or (said and computed not in FLOATS):
        return None
    axis = None if size == 1 and not block else attribute(node, "axis", 1) % max(1, len(shape))
    bits = 4 if stored.data_type in _FOUR_BITS else DTYPES[str(dtype_of(stored))].itemsize * 8
    each = "tensor" if axis is None else f"blocks of {block}" if block else f"axis {axis}"
    scheme = f"QDQ int{bits}, per {each}"
    found = Quantized(scheme, codes, scale, zero, shape, axis, block or 1, computed=computed)
    return found if _fits(found, scales, model) else None


def _cast_and_mul(model: Model, scope: int, node: Any) -> Quantized | None:
    """Weight-only: Cast(codes) * scale, the scale one number or along one axis."""
    for first, second in (node.input[:2], node.input[1::-1]):
        scale = model.resolve(scope, second)
        cast = model.producer(model.resolve(scope, first))
        scales = model.tensor(scale)
        if scales is None or cast is None or cast.op_type != "Cast" or cast.domain not in ONNX:
            continue
        codes = model.resolve(scope, cast.input[0])
        stored = model.tensor(codes)
        if not _are_codes(stored) or attribute(cast, "to", 0) not in {1, 10, 16}:
            continue
        shape = tuple(stored.dims)
        along = [n for n in scales.dims if n != 1]
        dims = (1,) * (len(shape) - len(scales.dims)) + tuple(scales.dims)
        axis = next((i for i, n in enumerate(dims) if n != 1), None)
        if len(along) <= 1 and len(dims) == len(shape) and (axis is None or along == [shape[axis]]):
            each = "tensor" if axis is None else f"axis {axis}"
            return Quantized(f"weight-only int8, per {each}", codes, scale, None, shape, axis)
    return None


def integer_matmul(
    model: Model, scope: int, names: tuple[str, str, str | None], scheme: str
) -> Quantized | None:
    """Returns the (in, out) weight of an integer MatMul; names are codes, scale, zero point."""
    codes, scale = model.resolve(scope, names[0]), model.resolve(scope, names[1])
    zero = model.resolve(scope, names[2]) if names[2] else None
    stored, scales = model.tensor(codes), model.tensor(scale)
    if not _are_codes(stored) or scales is None or (zero and model.tensor(zero) is None):
        return None
    axis = None if math.prod(scales.dims) == 1 else 1
    each = "tensor" if axis is None else "column"
    found = Quantized(f"{scheme}, per {each}", codes, scale, zero, tuple(stored.dims), axis)
    return found if len(stored.dims) == 2 and _fits(found, scales, model) else None


def bits_matmul(model: Model, scope: int, node: Any) -> Quantized | None:
    """Returns the (out, in) weight of a MatMulNBits."""
    inputs = [*node.input, "", "", ""]
    codes, scale = model.resolve(scope, inputs[1]), model.resolve(scope, inputs[2])
    zero = model.resolve(scope, inputs[3]) if inputs[3] else None
    columns, rows = attribute(node, "K", 0), attribute(node, "N", 0)
    bits, block = attribute(node, "bits", 4), attribute(node, "block_size", 0)
    stored, scales = model.tensor(codes), model.tensor(scale)
    known = bits in {2, 4, 8} and rows > 0 and columns > 0 and block >= 8
    plain = not inputs[4] and not attribute(node, "weight_prepacked", 0)
    if not known or not plain or stored is None or scales is None:
        return None
    blocks = -(-columns // block)
    whole = math.prod(stored.dims) == rows * blocks * block * bits // 8
    if not whole or dtype_of(stored) != "U8" or math.prod(scales.dims) != rows * blocks:
        return None
    if zero is not None and not _zero_points_fit(model.tensor(zero), rows, blocks, bits):
        return None
    scheme = f"MatMulNBits int{bits}, blocks of {block}"
    return Quantized(scheme, codes, scale, zero, (rows, columns), 1, block, bits)


def _zero_points_fit(tensor: Any, rows: int, blocks: int, bits: int) -> bool:
    if tensor is None:
        return False
    size = math.prod(tensor.dims)
    packed = rows * -(-blocks * bits // 8)
    return bool(size == (packed if dtype_of(tensor) == "U8" else rows * blocks))


def _are_codes(tensor: Any) -> TypeGuard[Any]:
    return tensor is not None and (dtype_of(tensor) in _CODES or tensor.data_type in _FOUR_BITS)


def _fits(quantized: Quantized, scales: Any, model: Model) -> bool:
    """Whether there is a scale for each group, and a zero point for each or one for all."""
    groups = math.prod(group_shape(quantized))
    zeros = 1 if quantized.zero is None else math.prod(model.tensor(quantized.zero).dims)
    return bool(math.prod(scales.dims) == groups and zeros in {1, groups})


def _step(model: Model, scope: int, node: Any, shape: tuple[int, ...]) -> Step | None:
    """Returns what a passed node does to a tensor of `shape`; None where that is not constant."""
    axes = len(shape)
    if node.op_type == "Transpose":
        order = tuple(attribute(node, "perm", [])) or tuple(reversed(range(axes)))
        return Transposed(order) if sorted(order) == list(range(axes)) else None
    if node.op_type in {"Identity", "Cast"}:
        return Reshaped(shape)
    if node.op_type == "Flatten":
        axis = attribute(node, "axis", 1) % (axes + 1)
        return Reshaped((math.prod(shape[:axis]), math.prod(shape[axis:])))
    return _sized_step(node, _numbers(model, scope, node), shape)


def _sized_step(node: Any, numbers: list[int] | None, shape: tuple[int, ...]) -> Step | None:
    """The same for the operators that are told a shape or axes."""
    if node.op_type == "Squeeze":
        ones = {axis for axis, size in enumerate(shape) if size == 1}
        gone = {axis % max(1, len(shape)) for axis in numbers} if numbers else ones
        left = tuple(size for axis, size in enumerate(shape) if axis not in gone)
        return Reshaped(left) if gone <= ones else None
    if numbers is None:
        return None
    if node.op_type == "Reshape":
        return _reshaped(node, numbers, shape)
    total = len(shape) + len(numbers)
    added = {axis % total for axis in numbers}
    rest = iter(shape)
    return Reshaped(tuple(1 if axis in added else next(rest, 1) for axis in range(total)))


def _reshaped(node: Any, numbers: list[int], shape: tuple[int, ...]) -> Step | None:
    zeros_copy = not attribute(node, "allowzero", 0)
    try:
        wanted = [shape[i] if n == 0 and zeros_copy else n for i, n in enumerate(numbers)]
    except IndexError:
        return None
    known = math.prod(n for n in wanted if n != -1)
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = math.prod(shape) // known
    fits = min(wanted, default=1) >= 0 and math.prod(wanted) == math.prod(shape)
    return Reshaped(tuple(wanted)) if fits else None


def _numbers(model: Model, scope: int, node: Any) -> list[int] | None:
    """Returns the constant shape or axes of a node: its second input, or an attribute of old."""
    if len(node.input) > 1 and node.input[1]:
        return constant_integers(model, model.resolve(scope, node.input[1]))
    given = attribute(node, "axes", []) or attribute(node, "shape", [])
    return [int(n) for n in given] or None


def constant_integers(model: Model, value: Value) -> list[int] | None:
    """Returns a stored list of integers, such as a shape; None where it is something else."""
    tensor = model.tensor(value)
    if tensor is None or len(tensor.dims) > 1 or math.prod(tensor.dims) > _MOST_NUMBERS:
        return None
    numbers = model.array(value)
    if not np.issubdtype(numbers.dtype, np.integer):
        return None
    return [int(n) for n in np.ravel(numbers)]
