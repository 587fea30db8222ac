"""The rewritten graphs that the tests use, and what marks each as what it claims to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.real.exports import Export, Exporter
from tests.tolerances import ONNX_OUTPUT_F32

# Sanity only: how far rounded weights may move a random model's output. What they must give to the
# last digit is compared with torch, see ``Sample.exact``.
_HALF, _INT8, _INT4 = 2e-2, 0.15, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An exported base, gone through some tools."""

    case: str
    how: Export
    tools: tuple[str, ...]
    operators: Mapping[str, int] = field(default_factory=dict)
    """Operators that the graph must hold, and how many at least: else the sample proves nothing."""
    near: float = ONNX_OUTPUT_F32
    """How far its outputs may be from the base's, relative to their largest value."""
    exact: bool = False
    """Only weights are rounded: torch with the rounded weights gives the same outputs."""

    @property
    def name(self) -> str:
        """A test's name for it."""
        dynamic = "-dynamic" if self.how.dynamic else ""
        return f"{self.case}-{self.how.exporter}{dynamic}-{'+'.join(self.tools)}"


def _sample(
    case: str,
    exporter: Exporter,
    tools: str,
    operators: Mapping[str, int],
    near: float = ONNX_OUTPUT_F32,
    *,
    dynamic: bool = False,
    exact: bool = False,
) -> Sample:
    return Sample(
        case=case,
        how=Export(exporter=exporter, dynamic=dynamic),
        tools=tuple(tools.split("+")),
        operators=operators,
        near=near,
        exact=exact,
    )


_BERT, _GPT2, _LLAMA = "bert-attention-written-out", "gpt2-conv1d", "llama-grouped-queries"
_T5, _VIT = "t5-encoder-decoder", "vit-query-value"

FUSED = (
    _sample(
        _BERT,
        "torchscript",
        "fused",
        {"Attention": 3, "SkipLayerNormalization": 6, "BiasGelu": 3},
    ),
    _sample(
        _BERT, "torchscript", "fused", {"Attention": 3, "EmbedLayerNormalization": 1}, dynamic=True
    ),
    _sample(_BERT, "dynamo", "fused", {"SkipLayerNormalization": 6, "BiasGelu": 3}),
    _sample(_GPT2, "torchscript", "fused", {"SkipLayerNormalization": 4, "FastGelu": 2}),
    _sample(_GPT2, "dynamo", "fused", {"SkipLayerNormalization": 4, "FastGelu": 2}),
    _sample(_LLAMA, "dynamo", "fused", {"SkipSimplifiedLayerNormalization": 4}),
    _sample(_T5, "torchscript", "fused", {"SkipSimplifiedLayerNormalization": 10}),
    _sample(_VIT, "dynamo", "fused", {"SkipLayerNormalization": 4, "BiasGelu": 2}),
    _sample(_BERT, "torchscript", "fused-float16", {"Attention": 3}, _HALF),
    _sample(_GPT2, "dynamo", "fused-float16", {"FastGelu": 2}, _HALF),
)

OPTIMISED = (
    _sample(_BERT, "dynamo", "ort-basic", {"MatMul": 18, "Gemm": 1}),
    _sample(_BERT, "dynamo", "ort-extended", {"SkipLayerNormalization": 6, "FusedGemm": 1}),
    _sample(_BERT, "torchscript", "ort-all", {"Gemm": 18, "SkipLayerNormalization": 6}),
    _sample(_BERT, "dynamo", "ort-all", {"MatMul": 18, "FusedMatMul": 3}, dynamic=True),
    _sample(_GPT2, "torchscript", "ort-extended", {"Gemm": 8, "FastGelu": 2}),
    _sample(_LLAMA, "dynamo", "ort-all", {"MatMul": 15, "QuickGelu": 2}),
    _sample(_LLAMA, "torchscript", "ort-extended", {"MatMul": 15}, dynamic=True),
    # d_model ** -0.5 before lm_head becomes the factor of the operator that reads its weight.
    _sample(_T5, "dynamo", "ort-extended", {"FusedMatMul": 1}),
    # The patch embedding's weight is stored in blocks of channels, as this processor wants them.
    _sample(_VIT, "dynamo", "ort-all", {"Conv": 1, "ReorderOutput": 1}),
    _sample(_BERT, "torchscript", "fused+ort-all", {"Attention": 3}),
)

QUANTISED = (
    _sample(_BERT, "dynamo", "int4", {"MatMulNBits": 18}, _INT4, exact=True),
    _sample(_BERT, "torchscript", "int4-asymmetric", {"MatMulNBits": 18}, _INT4, exact=True),
    _sample(_BERT, "dynamo", "int4-accuracy-4", {"MatMulNBits": 18}, _INT4),
    _sample(_BERT, "dynamo", "int8-blocks", {"MatMulNBits": 18}, _INT8, exact=True),
    _sample(_LLAMA, "dynamo", "int4-asymmetric", {"MatMulNBits": 15}, _INT4, exact=True),
    _sample(_LLAMA, "torchscript", "int8-blocks-asymmetric", {"MatMulNBits": 15}, _INT8,
            exact=True),
    _sample(_BERT, "torchscript", "int4-qdq", {"DequantizeLinear": 18}, _INT4, exact=True),
    _sample(_LLAMA, "dynamo", "int4-qdq-asymmetric", {"DequantizeLinear": 15}, _INT4, exact=True),
    _sample(_BERT, "dynamo", "int4+ort-extended", {"MatMulNBits": 18}, _INT4),
    _sample(_BERT, "dynamo", "qdq", {"DequantizeLinear": 37, "QuantizeLinear": 18}, _INT8),
    _sample(_BERT, "torchscript", "qdq-per-channel", {"DequantizeLinear": 37}, _INT8),
    _sample(_GPT2, "dynamo", "qdq-per-channel", {"DequantizeLinear": 16}, _INT8),
    _sample(_VIT, "dynamo", "qdq-per-channel", {"DequantizeLinear": 26, "Conv": 1}, _INT8),
    _sample(_BERT, "dynamo", "qlinear", {"QLinearMatMul": 18, "QGemm": 1}, _INT8),
    _sample(_BERT, "dynamo", "dynamic", {"MatMulInteger": 19}, _INT8),
    _sample(_BERT, "torchscript", "dynamic-per-channel", {"MatMulInteger": 19}, _INT8),
    _sample(_GPT2, "dynamo", "dynamic-per-channel", {"MatMulInteger": 8}, _INT8),
    _sample(_LLAMA, "dynamo", "dynamic", {"MatMulInteger": 15}, _INT8),
    _sample(_BERT, "dynamo", "dynamic+ort-extended",
            {"MatMulIntegerToFloat": 9, "DynamicQuantizeMatMul": 10}, _INT8),
    _sample(_BERT, "torchscript", "fused+int4", {"Attention": 3, "MatMulNBits": 9}, _INT4),
    _sample(_BERT, "torchscript", "fused+dynamic", {"QAttention": 3, "MatMulInteger": 9}, _INT8),
)  # fmt: skip

SAMPLES = {sample.name: sample for sample in (*FUSED, *OPTIMISED, *QUANTISED)}
