"""Linear layers quantised in the forms that real tools write, by NumPy alone.

Each form is a graph from x to y whose product is the node `q`. What they stand for: MatMulNBits of
ONNX Runtime's quantiser and of its GenAI builder; quantize_static's QDQ; quantize_dynamic's
MatMulInteger and what ONNX Runtime fuses that into; Cast and Mul of published int8 models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnxruntime
from onnx import numpy_helper, parser

from fourier_format.adapter import Array
from tests.fourier_converters.graphs import weight

OUT, IN = 24, 40
W: Final = weight(OUT, IN)
PATH: Final = "/enc/q/MatMul"
"""The product's name, of the module enc.q."""

_TEXT: Final = {"float32": "float", "float16": "float16"}


@dataclass(frozen=True)
class Layer:
    """A quantised layer: the nodes from x to y, and their initializers."""

    body: str
    arrays: dict[str, Array] = field(default_factory=dict)
    dtype: Any = np.float32

    def then(self, body: str, **arrays: Array) -> Layer:
        """Returns the layer with `body` after it: the product, y until now, is named h."""
        before = self.body.replace(" y = ", " h = ")
        return Layer(f"{before} {body}", self.arrays | arrays, self.dtype)

    def model(self, opset: int = 21, in_: int = IN, out: str = f"N, {OUT}") -> Any:
        """Returns the ModelProto, the product named as TorchScript names it."""
        kind = _TEXT[np.dtype(self.dtype).name]
        header = f'<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1]>'
        text = f"{header} g ({kind}[N, {in_}] x) => ({kind}[{out}] y) {{ {self.body} }}"
        proto = parser.parse_model(text)
        for name, array in self.arrays.items():
            content = np.ascontiguousarray(array).reshape(array.shape)
            proto.graph.initializer.append(numpy_helper.from_array(content, name))
        for node in proto.graph.node:
            node.name = PATH if node.name == "q" else node.name
        return proto


def run_plainly(path: Path, **inputs: Array) -> Array:
    """Returns the first output, no node fused with another."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    first: Array = session.run(None, inputs)[0]
    return first


@dataclass(frozen=True)
class Rounded:
    """Codes with one scale and zero point for each group, all in the values' number of axes."""

    codes: Array
    scale: Array
    zero: Array


def rounded(
    values: Array, axes: tuple[int, ...], lowest: int, highest: int, *, symmetric: bool
) -> Rounded:
    """Returns `values` with one scale for everything along `axes`."""
    low = np.minimum(values.min(axes, keepdims=True), 0)
    high = np.maximum(values.max(axes, keepdims=True), 0)
    if symmetric:
        zero = np.full(low.shape, (lowest + highest + 1) // 2)
        scale = np.maximum(-low, high) / (highest - zero)
    else:
        scale = (high - low) / (highest - lowest)
        zero = np.rint(lowest - low / scale).astype(int)
    codes = np.clip(np.rint(values / scale) + zero, lowest, highest).astype(int)
    return Rounded(codes, scale.astype(np.float32), zero)


def nbits(
    bits: int = 4,
    block: int = 16,
    zero: str = "none",
    *,
    bias: Array | None = None,
    dtype: Any = np.float32,
    w: Array = W,
) -> Layer:
    """Returns a MatMulNBits; zero points are "none", "packed" or "float"."""
    out, in_ = w.shape
    blocks = -(-in_ // block)
    padded = np.zeros((out, blocks * block), np.float32)
    padded[:, :in_] = w
    grouped = padded.reshape(out, blocks, block)
    found = rounded(grouped, (2,), 0, 2**bits - 1, symmetric=zero == "none")
    codes = found.codes.reshape(out, -1)
    codes[:, in_:] = 0
    arrays = {
        "w_Q": packed(codes, bits).reshape(out, blocks, -1),
        "w_scales": found.scale[:, :, 0].astype(dtype),
    }
    if zero == "packed":
        arrays["w_zero_points"] = packed(found.zero[:, :, 0], bits)
    elif zero == "float":
        arrays["w_zero_points"] = (found.zero[:, :, 0] + 0.25).astype(dtype)
    inputs = ["x", *arrays] if zero != "none" else ["x", *arrays, '""']
    if bias is not None:
        inputs += ['""', "b"]
        arrays["b"] = bias.astype(dtype)
    attributes = f"K = {in_}, N = {out}, bits = {bits}, block_size = {block}"
    body = f"[q] y = com.microsoft.MatMulNBits <{attributes}> ({', '.join(inputs)})"
    return Layer(f" {body}", arrays, dtype)


def packed(codes: Array, bits: int) -> Array:
    """Returns (rows, codes) as (rows, bytes), the first code in the lowest bits."""
    rows, count = codes.shape
    each = 8 // bits
    whole = np.zeros((rows, -(-count // each)), np.uint8)
    for column in range(count):
        whole[:, column // each] |= codes[:, column].astype(np.uint8) << (column % each * bits)
    return whole


def dequantize_linear(
    each: str = "tensor",
    dtype: Any = np.int8,
    *,
    symmetric: bool = True,
    operator: str = "MatMul",
    scales: Any = np.float32,
    w: Array = W,
) -> Layer:
    """Returns a MatMul, or a Gemm with transB, behind a DequantizeLinear.

    `each` is what has a scale of its own: "tensor", "channel", or "block" of 16 inputs.
    """
    in_axis = 0 if operator == "MatMul" else 1
    stored = w.T if operator == "MatMul" else w
    attributes = {"channel": f"<axis = {1 - in_axis}>", "tensor": ""}
    attributes["block"] = f"<axis = {in_axis}, block_size = 16>"
    found = by_groups(stored, each, in_axis, dtype, symmetric=symmetric)
    arrays = {
        "w_quantized": found.codes.astype(dtype),
        "w_scale": found.scale.astype(scales),
    }
    if not symmetric:
        arrays["w_zero_point"] = found.zero.astype(dtype)
    given = ", ".join(arrays)
    product = {"MatMul": "MatMul (x, d)", "Gemm": "Gemm <transB = 1> (x, d)"}[operator]
    body = f" d = DequantizeLinear {attributes[each]} ({given}) [q] y = {product}"
    return Layer(body, arrays, scales)


def by_microsoft(each: str = "tensor", dtype: Any = np.int16, *, symmetric: bool = True) -> Layer:
    """Returns the same with ONNX Runtime's own DequantizeLinear, as it quantises before opset 21.

    There an axis means that each of its slices has a scale.
    """
    layer = dequantize_linear(each, dtype, symmetric=symmetric)
    body = layer.body.replace("Dequantize", "com.microsoft.Dequantize")
    return Layer(body, layer.arrays, layer.dtype)


def by_groups(stored: Array, each: str, in_axis: int, dtype: Any, *, symmetric: bool) -> Rounded:
    """Returns a matrix quantised per tensor, channel or block, in the shapes of ONNX."""
    info: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    lowest, highest = int(info.min), int(info.max)
    if each == "block":
        starts = range(0, stored.shape[in_axis], 16)
        blocks = [np.take(stored, range(s, min(s + 16, IN)), in_axis) for s in starts]
        parts = [rounded(b, (in_axis,), lowest, highest, symmetric=symmetric) for b in blocks]
        return Rounded(
            *(
                np.concatenate([getattr(part, name) for part in parts], in_axis)
                for name in ("codes", "scale", "zero")
            )
        )
    axes = (0, 1) if each == "tensor" else (in_axis,)
    found = rounded(stored, axes, lowest, highest, symmetric=symmetric)
    shape = () if each == "tensor" else (-1,)
    return Rounded(found.codes, found.scale.reshape(shape), found.zero.reshape(shape))


def with_activations(layer: Layer) -> Layer:
    """Returns the layer with its input and its output quantised, as quantize_static does."""
    before = " a = QuantizeLinear (x, x_s, x_z) i = DequantizeLinear (a, x_s, x_z)"
    after = " c = QuantizeLinear (h, y_s, x_z) y = DequantizeLinear (c, y_s, x_z)"
    arrays = {
        "x_s": np.float32(0.03),
        "y_s": np.float32(0.3),
        "x_z": np.int8(3),
    }
    body = layer.then("").body.replace("(x, ", "(i, ")
    return Layer(
        f"{before}{body}{after}", layer.arrays | {k: np.array(v) for k, v in arrays.items()}
    )


def cast_and_mul(each: str = "channel", dtype: Any = np.float32) -> Layer:
    """Returns a MatMul whose weight is Cast(codes) * scale."""
    found = by_groups(W.T, each, 0, np.int8, symmetric=True)
    scale = found.scale.reshape((1, -1) if each == "channel" else ())
    arrays = {"w_q": found.codes.astype(np.int8), "w_scale": scale.astype(dtype)}
    to = 1 if dtype == np.float32 else 10
    body = f" f = Cast <to = {to}> (w_q) d = Mul (f, w_scale) [q] y = MatMul (x, d)"
    return Layer(body, arrays, dtype)


def integer(form: str, each: str = "channel", *, bias: Array | None = None) -> Layer:
    """Returns a MatMulInteger with Cast and Mul, a MatMulIntegerToFloat or a DynamicQuantizeMatMul.

    All of them quantise the activations; the codes are signed and symmetric, as per default.
    """
    found = by_groups(W.T, each, 0, np.int8, symmetric=True)
    arrays = {
        "w_quantized": found.codes.astype(np.int8),
        "w_scale": found.scale,
        "w_zero_point": found.zero.astype(np.int8),
    }
    more = ""
    if bias is not None:
        arrays["b"], more = bias, ", b"
    dynamic = " a, x_scale, x_zero_point = DynamicQuantizeLinear (x)"
    if form == "DynamicQuantizeMatMul":
        inputs = f"x, w_quantized, w_scale, w_zero_point{more}"
        return Layer(f" [q] y = com.microsoft.DynamicQuantizeMatMul ({inputs})", arrays)
    if form == "MatMulIntegerToFloat":
        inputs = f"a, w_quantized, x_scale, w_scale, x_zero_point, w_zero_point{more}"
        return Layer(f"{dynamic} [q] y = com.microsoft.MatMulIntegerToFloat ({inputs})", arrays)
    body = f"""{dynamic}
        s = Mul (x_scale, w_scale)
        [q] p = MatMulInteger (a, w_quantized, x_zero_point, w_zero_point)
        c = Cast <to = 1> (p)
        y = Mul (c, s)"""
    layer = Layer(body, arrays)
    return layer if bias is None else layer.then("y = Add (h, b)")
