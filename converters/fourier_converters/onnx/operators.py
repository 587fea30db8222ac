"""Operators that read parameters of modules: in which role, and as which canonical matrix.

The tables follow the operators' definitions (onnx/docs/Operators.md, and ONNX Runtime's
docs/ContribOperators.md for com.microsoft). Values are never asked: for a square or symmetric
weight they could not tell how it is read.
"""

from __future__ import annotations

from typing import Any, Final

from fourier_converters.onnx.protos import attribute, subgraphs
from fourier_converters.onnx.views import View, matrix_view

ONNX: Final = frozenset({"", "ai.onnx"})
MICROSOFT: Final = "com.microsoft"

PASSED: Final = frozenset(
    {"Identity", "Transpose", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
)
"""Operators of ONNX through which a weight is followed."""

_ROLES: Final[dict[tuple[str, int], str]] = {
    ("MatMul", 1): "weight",
    ("Gemm", 1): "weight",
    ("Gemm", 2): "bias",
    ("Conv", 1): "weight",
    ("Conv", 2): "bias",
    ("Einsum", 1): "weight",
    ("Gather", 0): "weight",
    ("Add", 0): "bias",
    ("Add", 1): "bias",
    ("Mul", 0): "weight",
    ("Mul", 1): "weight",
    ("LayerNormalization", 1): "weight",
    ("LayerNormalization", 2): "bias",
    ("RMSNormalization", 1): "weight",
    ("SimplifiedLayerNormalization", 1): "weight",
}
"""(operator of ONNX, input) -> which parameter of a module it is."""

_MICROSOFT_ROLES: Final[dict[tuple[str, int], str]] = {
    ("FusedMatMul", 1): "weight",
    ("FusedGemm", 1): "weight",
    ("FusedGemm", 2): "bias",
    ("FusedConv", 1): "weight",
    ("FusedConv", 2): "bias",
    ("Attention", 1): "weight",
    ("Attention", 2): "bias",
    ("BiasGelu", 1): "bias",
    ("FastGelu", 1): "bias",
    ("EmbedLayerNormalization", 2): "weight",
    ("EmbedLayerNormalization", 3): "weight",
    ("EmbedLayerNormalization", 4): "weight",
    ("EmbedLayerNormalization", 5): "weight",
    ("EmbedLayerNormalization", 6): "bias",
    ("SkipLayerNormalization", 2): "weight",
    ("SkipLayerNormalization", 3): "bias",
    ("SkipLayerNormalization", 4): "bias",
    ("SkipSimplifiedLayerNormalization", 2): "weight",
    ("SkipSimplifiedLayerNormalization", 3): "bias",
    ("MatMulNBits", 1): "weight",
    ("MatMulNBits", 5): "bias",
    ("MatMulIntegerToFloat", 1): "weight",
    ("MatMulIntegerToFloat", 6): "bias",
    ("DynamicQuantizeMatMul", 1): "weight",
    ("DynamicQuantizeMatMul", 4): "bias",
}
"""The same for com.microsoft."""

_INTEGER_ROLES: Final[dict[tuple[str, int], str]] = {("MatMulInteger", 1): "weight"}

QUANTIZED: Final = frozenset(
    {"MatMulNBits", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
"""Operators that read quantised weights themselves."""

_LINEAR: Final = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Attention"}) | QUANTIZED
"""Operators that multiply by a matrix at input 1: as (in, out), or (out, in) with transB."""

UNOPENED: Final[dict[str, str]] = {
    "QAttention": "a quantised Attention with q, k and v in one weight",
    "QLinearMatMul": "QOperator format, in which the activations have no float form",
    "QGemm": "QOperator format, in which the activations have no float form",
    "ConvInteger": "an integer convolution, whose product becomes float behind it",
    "QLinearConv": "QOperator format, in which the activations have no float form",
    "QEmbedLayerNormalization": "a quantised embedding inside a fused operator",
    "GatherBlockQuantized": "a block-quantised embedding",
    "MatMulBnb4": "bitsandbytes' 4-bit format",
    "QMoE": "quantised experts",
    "MoE": "fused experts",
    "DecoderMaskedSelfAttention": "fused attention with a packed weight",
    "PackedAttention": "fused attention with a packed weight",
    "LongformerAttention": "fused attention with packed weights",
}
"""Operators that hide weights, and are not opened; errors name them."""

UNOPENED_DOMAINS: Final = ONNX | {MICROSOFT}

_EMBEDDING_SLOTS: Final = frozenset(
    {("Gather", 0), ("EmbedLayerNormalization", 2), ("EmbedLayerNormalization", 3)}
    | {("EmbedLayerNormalization", 4)}
)


def role(node: Any, slot: int) -> str | None:
    """Returns "weight" or "bias"; None where the input is no parameter of a module."""
    if node.domain in ONNX:
        key = (node.op_type, slot)
        found = _ROLES.get(key) or _INTEGER_ROLES.get(key)
    elif node.domain == MICROSOFT:
        found = _MICROSOFT_ROLES.get((node.op_type, slot))
    else:
        return None
    scaled = attribute(node, "alpha", 1.0) != 1.0 and node.op_type != "FusedMatMul"
    if slot == 2 and attribute(node, "beta", 1.0) != 1.0 and node.op_type in {"Gemm", "FusedGemm"}:
        return None
    turned = attribute(node, "transA", 0) or attribute(node, "transBatchA", 0)
    if node.op_type in {"Gemm", "FusedGemm", "FusedMatMul"} and (scaled or turned):
        return None  # no exporter writes a linear layer so; T5's scaled head becomes a FusedMatMul
    return found


def reads_parameters(node: Any) -> bool:
    """Whether a node could read the weight of a target, itself or in a subgraph."""
    if any(role(node, slot) for slot in range(len(node.input))) and node.op_type not in {
        "Add",
        "Mul",
    }:
        return True
    return any(reads_parameters(inner) for graph in subgraphs(node) for inner in graph.node)


def canonical_view(node: Any, slot: int, shape: tuple[int, ...]) -> tuple[str, View] | None:
    """Returns the kind and the view from the operand to (out, in); None where there is none.

    Kinds are "linear", "conv2d" and "embedding" (spec/registry.md, table 2); an Einsum of one
    kernel is linear, its canonical matrix that of `einsum_dense`.
    """
    name, axes = node.op_type, len(shape)
    view = None
    if name == "MatMulNBits" and slot == 1:
        view = View(shape)
    elif name in _LINEAR and slot == 1 and axes == 2:
        turned = attribute(node, "transB", 0)
        view = matrix_view(shape, (0, 1) if turned else (1, 0), 1)
    elif name == "Einsum":
        view = _einsum_view(node, shape)
    elif name in {"Conv", "FusedConv"} and axes == 4 and slot == 1:
        return "conv2d", matrix_view(shape, (0, 1, 2, 3), 1)
    elif (name, slot) in _EMBEDDING_SLOTS and axes == 2 and not attribute(node, "axis", 0):
        return "embedding", matrix_view(shape, (1, 0), 1)
    return None if view is None else ("linear", view)


def _einsum_view(node: Any, shape: tuple[int, ...]) -> View | None:
    """A kernel's axes that the result lacks are contracted with the input; the others are out's."""
    equation = attribute(node, "equation", "").replace(" ", "")
    inputs, arrow, result = equation.partition("->")
    terms = inputs.replace("...", "").split(",")
    if not arrow or len(terms) != 2 or len(terms[1]) != len(shape) or "..." in terms[1]:
        return None
    kernel, given = terms[1], terms[0]
    contracted = [axis for axis, letter in enumerate(kernel) if letter not in result]
    kept = [axis for axis, letter in enumerate(kernel) if letter in result]
    shared = any(kernel[axis] in given for axis in kept)
    unknown = any(kernel[axis] not in given for axis in contracted)
    if not contracted or not kept or shared or unknown or len(set(kernel)) != len(kernel):
        return None
    return matrix_view(shape, (*kept, *contracted), len(kept))
