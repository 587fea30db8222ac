"""The shapes that ONNX Runtime's own operators give (its docs/ContribOperators.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fourier_converters.onnx.operators import MICROSOFT
from fourier_converters.onnx.protos import attribute

Shape = tuple[int | None, ...] | None
Shapes = list[Shape]


def shapes(node: Any, given: Sequence[Shape]) -> Shapes | None:
    """Returns the outputs' shapes; None where the operator is not one of those known here."""
    own = node.op_type in _OF_ONNX or node.domain.startswith(MICROSOFT)
    rule = _RULES.get(node.op_type) if own else None
    if rule is None:
        return None
    return rule(node, [*given, *([None] * 8)])


def typed_by(node: Any) -> int:
    """Returns the input that has the outputs' element type: the scale, where others are codes."""
    slot = _TYPED_BY.get(node.op_type, 0)
    return slot if slot < len(node.input) else 0


def _same(_: Any, given: Sequence[Shape]) -> Shapes:
    return [given[0]]


def _skip(_: Any, given: Sequence[Shape]) -> Shapes:
    first = given[0]
    means = None if first is None else (*first[:-1], 1)
    return [first, means, means, first]


def broadcast(*given: Shape) -> Shape:
    """Returns the shape of what is computed element by element; None for sizes that disagree."""
    if any(shape is None for shape in given):
        return None
    rank = max(len(shape or ()) for shape in given)
    whole: list[int | None] = [1] * rank
    for shape in given:
        for back, size in enumerate(reversed(shape or ()), 1):
            at = whole[-back]
            if size != 1:
                whole[-back] = size if at in {1, size} else None
    return tuple(whole)


def product(a: Shape, b: Shape) -> Shape:
    """Returns the shape of a matrix product, operands turned already."""
    if a is None or b is None or not a or not b:
        return None
    if len(a) == 1 or len(b) == 1:
        rows = a[:-1] if len(b) == 1 else b[:-2]
        return rows if len(b) == 1 else (*rows, b[-1])
    leading = broadcast(a[:-2], b[:-2])
    return None if leading is None else (*leading, a[-2], b[-1])


def _turned(shape: Shape, turn: int) -> Shape:
    return (
        shape
        if shape is None or not turn or len(shape) < 2
        else (
            *shape[:-2],
            shape[-1],
            shape[-2],
        )
    )


def _matmul(left: int, right: int) -> Callable[[Any, Sequence[Shape]], Shapes]:
    def rule(node: Any, given: Sequence[Shape]) -> Shapes:
        a = _turned(given[left], attribute(node, "transA", 0))
        b = _turned(given[right], attribute(node, "transB", 0))
        return [product(a, b)]

    return rule


def _by_bits(node: Any, given: Sequence[Shape]) -> Shapes:
    return [None if given[0] is None else (*given[0][:-1], attribute(node, "N", 0) or None)]


def _elementwise(left: int, right: int) -> Callable[[Any, Sequence[Shape]], Shapes]:
    return lambda _, given: [broadcast(given[left], given[right])]


def _attention(node: Any, given: Sequence[Shape]) -> Shapes:
    x, weight = given[0], given[1]
    if x is None or len(x) != 3:
        return [None, None]
    sizes = attribute(node, "qkv_hidden_sizes", [])
    packed = None if weight is None else weight[-1]
    width = sizes[-1] if sizes else None if packed is None else packed // 3
    return [(x[0], x[1], width), (2, x[0], None, None, None)]


def _multi_head(_: Any, given: Sequence[Shape]) -> Shapes:
    query, value = given[0], given[2]
    if query is None:
        return [None, None, None]
    width = query[-1] if value is None or len(value) != 3 else value[-1]
    if len(query) == 5 and query[2] is not None and query[4] is not None:
        width = query[2] * query[4]
    present: Shape = (query[0], None, None, None)
    return [(query[0], query[1], width), present, present]


def _grouped(node: Any, given: Sequence[Shape]) -> Shapes:
    query, key = given[0], given[1]
    if query is None or len(query) != 3:
        return [None, None, None]
    width = query[-1]
    heads, groups = attribute(node, "num_heads", 0), attribute(node, "kv_num_heads", 0)
    if key is None:
        width = None if width is None else width // (heads + 2 * groups) * heads
    present: Shape = (query[0], groups, None, None)
    return [(*query[:2], width), present, present]


def _embedded(_: Any, given: Sequence[Shape]) -> Shapes:
    ids, words = given[0], given[2]
    if ids is None:
        return [None, None, None]
    whole = (*ids, None if words is None else words[-1])
    return [whole, ids[:1], whole]


def _gathered(node: Any, given: Sequence[Shape]) -> Shapes:
    table, ids = given[0], given[1]
    if table is None or ids is None or attribute(node, "gather_axis", 0):
        return [None]
    return [(*ids, *(None for _ in table[1:]))]


def _image(_: Any, given: Sequence[Shape]) -> Shapes:
    return [None if given[0] is None else (given[0][0], *(None for _ in given[0][1:]))]


_OF_ONNX: Final = frozenset({"SimplifiedLayerNormalization"})
"""ONNX Runtime's, though it stands in ONNX's domain."""
_RULES: Final[dict[str, Callable[[Any, Sequence[Shape]], Shapes]]] = {
    **dict.fromkeys(
        ("SimplifiedLayerNormalization", "Gelu", "QuickGelu", "FastGelu", "BiasGelu"), _same
    ),
    **dict.fromkeys(
        ("RotaryEmbedding", "DequantizeLinear", "QuantizeLinear", "MoE", "QMoE"), _same
    ),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "BiasSoftmax"), _same),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skip),
    **dict.fromkeys(("FusedMatMul", "FusedGemm", "DynamicQuantizeMatMul"), _matmul(0, 1)),
    "MatMulIntegerToFloat": _matmul(0, 1),
    "QGemm": _matmul(0, 3),
    "MatMulNBits": _by_bits,
    "MatMulBnb4": _by_bits,
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _elementwise(0, 3)),
    **dict.fromkeys(("Attention", "QAttention"), _attention),
    "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _grouped,
    "EmbedLayerNormalization": _embedded,
    "GatherBlockQuantized": _gathered,
    **dict.fromkeys(("FusedConv", "Conv", "ReorderInput", "ReorderOutput", "MaxPool"), _image),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "NhwcFusedConv"), _image),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), _image),
}
_TYPED_BY: Final = {
    "QAttention": 3,
    "MatMulIntegerToFloat": 2,
    "EmbedLayerNormalization": 2,
    "GatherBlockQuantized": 2,
    "DequantizeLinear": 1,
}
