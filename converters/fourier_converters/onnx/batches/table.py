"""Which operator has which rule: ONNX's, and those of ONNX Runtime's fused graphs.

An operator that is not here is not known: what it gives is lost, unless it reads what all rows
share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fourier_converters.onnx.batches import products, rules
from fourier_converters.onnx.batches.rows import State, Step
from fourier_converters.onnx.batches.rules import Rule
from fourier_converters.onnx.operators import MICROSOFT, ONNX


def rule_of(domain: str, operator: str) -> Rule | None:
    """Returns the rule of an operator, None for one that is not known."""
    if domain in ONNX:
        return _ONNX.get(operator)
    if domain == MICROSOFT or domain.startswith(f"{MICROSOFT}."):
        return _MICROSOFT.get(operator)
    return None


def _names(text: str) -> list[str]:
    return text.split()


_UNARY: Final = _names(
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu"
    " HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round"
    " Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"
)
_BINARY: Final = _names(
    "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less"
    " LessOrEqual Max Mean Min Mod Mul Or Pow PRelu Sub Sum Where Xor"
)
_REDUCING: Final = _names(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
    " ReduceSum ReduceSumSquare ArgMax ArgMin"
)
_IMAGES: Final = _names(
    "AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool"
    " GlobalLpPool GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool"
    " QLinearConv Resize SpaceToDepth Upsample"
)
_ONNX: Final[dict[str, Rule]] = {
    **dict.fromkeys((*_UNARY, *_BINARY), rules.elementwise),
    **dict.fromkeys(_REDUCING, rules.reduced),
    **dict.fromkeys(_IMAGES, rules.images),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Clip", "CastLike"), rules.along),
    "Dropout": rules.first,
    "DynamicQuantizeLinear": rules.quantized,
    "Transpose": rules.transposed,
    **dict.fromkeys(("Reshape", "Flatten"), rules.reshaping),
    "Squeeze": rules.squeezed,
    "Unsqueeze": rules.unsqueezed,
    "Expand": rules.expanded,
    "Tile": rules.tiled,
    **dict.fromkeys(("LayerNormalization", "SimplifiedLayerNormalization"), rules.normalized),
    "RMSNormalization": rules.normalized,
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), rules.softmax),
    "LpNormalization": rules.kept(-1),
    "TopK": rules.kept(-1),
    "CumSum": rules.kept(0, argument=1),
    "GatherElements": rules.kept(0, (0, 1)),
    "ScatterElements": rules.kept(0, (0, 1, 2)),
    "Concat": rules.concatenated,
    "Split": rules.split,
    "Slice": rules.sliced,
    "Gather": rules.gathered,
    "GatherND": rules.gathered_nd,
    "Pad": rules.padded,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), rules.recurrent),
    "OneHot": rules.one_hot,
    "Trilu": rules.triangle,
    "MatMul": products.matmul(0, 1),
    "MatMulInteger": products.matmul(0, 1),
    "QLinearMatMul": products.matmul(0, 3),
    "Gemm": products.matmul(0, 1, 2),
    "Einsum": products.einsum,
    "Attention": products.leading_batch((0, 1, 2, 4, 5), (0, 0, 0, 0)),
    "RotaryEmbedding": products.leading_batch((0,), (0,)),
}
"""Operators of ONNX."""
_ATTENTION: Final[dict[str, Callable[[Step], State | list[State]]]] = {
    "Attention": products.leading_batch((0,), (0, 1)),
    "QAttention": products.leading_batch((0,), (0, 1)),
    "MultiHeadAttention": products.leading_batch((0, 1, 2), (0, 0, 0, 0)),
    "GroupQueryAttention": products.leading_batch((0, 1, 2, 3, 4), (0, 0, 0, 0)),
    "EmbedLayerNormalization": products.leading_batch((0,), (0, 0, 0)),
    "QEmbedLayerNormalization": products.leading_batch((0,), (0, 0, 0)),
    "RotaryEmbedding": products.leading_batch((0,), (0,)),
}
_MICROSOFT: Final[dict[str, Rule]] = {
    **_ATTENTION,
    "FusedMatMul": products.matmul(0, 1),
    "FusedGemm": products.matmul(0, 1, 2),
    "MatMulIntegerToFloat": products.matmul(0, 1),
    "DynamicQuantizeMatMul": products.matmul(0, 1),
    "QGemm": products.matmul(0, 3, 6),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4", "MoE", "QMoE"), products.rows_of()),
    **dict.fromkeys(
        ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), products.skipped
    ),
    **dict.fromkeys(("BiasGelu", "FastGelu", "QuickGelu", "Gelu"), rules.elementwise),
    **dict.fromkeys(("BiasSplitGelu",), products.rows_of()),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "QLinearSigmoid"), rules.along),
    **dict.fromkeys(("QLinearLeakyRelu",), rules.along),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), products.elementwise_of(0, 3)),
    "QLinearSoftmax": rules.softmax,
    "QLinearConcat": products.joined,
    "GatherBlockQuantized": rules.gathered,
    **dict.fromkeys(("FusedConv", "Conv", "NhwcFusedConv", "QLinearConv"), rules.images),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), rules.images),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), rules.images),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), rules.images),
}
"""Operators of ONNX Runtime."""
