"""Products: where the batch is behind matrix products, attention and their fused forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fourier_converters.onnx.live import rules
from fourier_converters.onnx.live.fused import broadcast
from fourier_converters.onnx.live.rows import Lost, Rows, Shared, State, Step, agreed, aligned, fits
from fourier_converters.onnx.live.rules import Rule
from fourier_converters.onnx.operators import MICROSOFT, ONNX
from fourier_converters.onnx.protos import attribute


def rule_of(domain: str, operator: str) -> Rule | None:
    """Returns the rule of an operator, None for one that is not known."""
    if domain in ONNX:
        return _OF_ONNX.get(operator) or rules.RULES.get(operator)
    if domain == MICROSOFT or domain.startswith(f"{MICROSOFT}."):
        return _OF_MICROSOFT.get(operator)
    return None


def _matmul(left: int, right: int, bias: int | None = None) -> Rule:
    def rule(step: Step) -> State:
        if attribute(step.node, "transBatchA", 0) or attribute(step.node, "transBatchB", 0):
            return step.lost("turns its operands' first axes")
        state = _product(step, left, right)
        if bias is None or not step.has(bias) or isinstance(step.state(bias), Shared):
            return state
        added = step.state(bias)
        return state if state == added else step.lost("adds what is not the same for all rows")

    return rule


def _product(step: Step, left: int, right: int) -> State:
    """A matrix product: the batch stays among its rows, or before them on both sides."""
    a, b = step.state(left), step.state(right)
    shapes = step.shape(left), step.shape(right)
    for state in (a, b):
        if isinstance(state, Lost) and state.mixed:
            return state
    if isinstance(a, Shared) and isinstance(b, Shared):
        return a
    if shapes[0] is None or shapes[1] is None or not shapes[0] or not shapes[1]:
        lost = next((state for state in (a, b) if isinstance(state, Lost)), None)
        return lost or step.lost("multiplies values of unknown shapes")
    ranks = len(shapes[0]), len(shapes[1])
    rank = max(ranks) if min(ranks) > 1 else max(ranks) - 1
    turned = attribute(step.node, "transA", 0), attribute(step.node, "transB", 0)
    axes = [
        _behind(state, ranks[side], turned[side], side, rank) if isinstance(state, Rows) else None
        for side, state in enumerate((a, b))
    ]
    if (isinstance(a, Rows) and axes[0] is None) or (isinstance(b, Rows) and axes[1] is None):
        return step.mixed()
    if isinstance(a, Rows) and isinstance(b, Rows):
        found = agreed(replace(a, axis=axes[0] or 0), replace(b, axis=axes[1] or 0))
        if found is not None and found.axis < rank - 2:
            return found
        return step.lost("multiplies each row of the batch with each")
    if isinstance(a, Lost) or isinstance(b, Lost):
        return _beside(step, (a, b), (left, right))
    side = 0 if isinstance(a, Rows) else 1
    state, axis = (a, b)[side], axes[side]
    result = broadcast(shapes[0][:-2], shapes[1][:-2]) if min(ranks) > 1 else ()
    if not isinstance(state, Rows) or axis is None or result is None:
        return step.lost("multiplies values of unknown shapes")
    whole = axis >= len(result) or fits(shapes[side], state.axis, (*result, None, None))
    return replace(state, axis=axis) if whole else step.lost("repeats the batch")


def _behind(rows: Rows, rank: int, turned: int, side: int, result: int) -> int | None:
    """Returns the axis in the product; None where it is summed over."""
    if rank == 1:
        return None
    back = rank - rows.axis  # 1 for the last axis
    if back > 2:
        return result - back
    summed = (2 if side else 1) if not turned else (1 if side else 2)
    if back == summed:
        return None
    return result - 1 if side or result < 2 else result - 2


def _beside(step: Step, states: tuple[State, State], slots: tuple[int, int]) -> State:
    """Of one side nothing is known: as for sums, its leading axes must be as large."""
    ranks = step.rank(slots[0]), step.rank(slots[1])
    leading = min(rank or 0 for rank in ranks) > 2 and ranks[0] == ranks[1]
    rows = next((state for state in states if isinstance(state, Rows)), None)
    if leading and rows is not None and rows.axis < (ranks[0] or 0) - 2:
        shapes = [step.shape(slot) or () for slot in slots]
        return aligned(step, slots, (*(broadcast(*(s[:-2] for s in shapes)) or ()), None, None))
    return next(state for state in states if isinstance(state, Lost))


def _rows_of(slot: int = 0) -> Rule:
    """Returns the rule of a product whose other operand is a weight."""

    def rule(step: Step) -> State:
        state, rank = step.state(slot), step.rank(slot)
        if not isinstance(state, Rows):
            return state
        if rank is None:
            return step.lost("multiplies a value of an unknown shape")
        return step.mixed() if state.axis == rank - 1 else state

    return rule


def _gemm(left: int, right: int, bias: int) -> Rule:
    return _matmul(left, right, bias)


def _einsum(step: Step) -> State:
    """Letters say it all; dots stand for the axes before."""
    for state in step.states:
        if isinstance(state, Lost):
            return state
    given, arrow, result = attribute(step.node, "equation", "").replace(" ", "").partition("->")
    terms = given.split(",")
    if not arrow or len(terms) != len(step.states) or "..." in given + result:
        return step.lost("has an equation that is not read here")
    found: Rows | None = None
    letters = set()
    for term, state in zip(terms, step.states, strict=True):
        if isinstance(state, Rows):
            letters.add(term[state.axis] if state.axis < len(term) else "")
            at = result.find(term[state.axis])
            moved = replace(state, axis=at)
            found = moved if found is None else agreed(found, moved)
    if len(letters) > 1:
        return step.lost("multiplies each row of the batch with each")
    return step.mixed() if found is None or found.axis < 0 else found


def _leading(slots: tuple[int, ...], axes: tuple[int, ...]) -> Rule:
    """Returns the rule of attention: the batch is in front of every operand.

    Args:
        slots: The operands; others are masks and the like, beside them or shared.
        axes: Where the batch is in each output.
    """

    def rule(step: Step) -> State | list[State]:
        states = [step.state(slot) for slot in slots if step.has(slot)]
        for state in states:
            if isinstance(state, Lost):
                return state
        rows = [state for state in states if isinstance(state, Rows)]
        if not rows:
            return step.lost("has operands that all rows share, and others that they do not")
        if any(state.axis for state in rows):
            return step.mixed()
        if any(state != rows[0] for state in rows):
            return step.lost("has operands with the batch on different axes")
        return [replace(rows[0], axis=axis) for axis in axes]

    return rule


def _elementwise(*slots: int) -> Rule:
    return lambda step: aligned(
        step, [slot for slot in slots if step.has(slot)], step.outputs[0].shape
    )


def _skipped(step: Step) -> State:
    """SkipLayerNormalization: a sum, then each token by itself."""
    slots = [slot for slot in (0, 1) if step.has(slot)]
    state = aligned(step, slots, broadcast(*(step.shape(slot) for slot in slots)))
    rank = step.rank(0)
    if isinstance(state, Rows) and (rank is None or state.axis == rank - 1):
        return step.mixed()
    return state


def _joined(step: Step) -> State:
    """QLinearConcat: scale and zero point before all, and behind each operand."""
    axis = attribute(step.node, "axis", 0)
    parts = range(2, len(step.states), 3)
    rank = step.rank(2)
    state = aligned(step, parts, None if rank is None else (None,) * rank)
    if isinstance(state, Rows) and rank and axis % rank == state.axis:
        return step.lost("joins parts along the batch")
    return state


_ATTENTION: Final[dict[str, Callable[[Step], State | list[State]]]] = {
    "Attention": _leading((0,), (0, 1)),
    "QAttention": _leading((0,), (0, 1)),
    "MultiHeadAttention": _leading((0, 1, 2), (0, 0, 0, 0)),
    "GroupQueryAttention": _leading((0, 1, 2, 3, 4), (0, 0, 0, 0)),
    "EmbedLayerNormalization": _leading((0,), (0, 0, 0)),
    "QEmbedLayerNormalization": _leading((0,), (0, 0, 0)),
    "RotaryEmbedding": _leading((0,), (0,)),
}
_OF_ONNX: Final[dict[str, Rule]] = {
    "MatMul": _matmul(0, 1),
    "MatMulInteger": _matmul(0, 1),
    "QLinearMatMul": _matmul(0, 3),
    "Gemm": _gemm(0, 1, 2),
    "Einsum": _einsum,
    "Attention": _leading((0, 1, 2, 4, 5), (0, 0, 0, 0)),
    "RotaryEmbedding": _leading((0,), (0,)),
}
_OF_MICROSOFT: Final[dict[str, Rule]] = {
    **_ATTENTION,
    "FusedMatMul": _matmul(0, 1),
    "FusedGemm": _gemm(0, 1, 2),
    "MatMulIntegerToFloat": _matmul(0, 1),
    "DynamicQuantizeMatMul": _matmul(0, 1),
    "QGemm": _gemm(0, 3, 6),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4", "MoE", "QMoE"), _rows_of()),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skipped),
    **dict.fromkeys(("BiasGelu", "FastGelu", "QuickGelu", "Gelu"), rules.elementwise),
    **dict.fromkeys(("BiasSplitGelu",), _rows_of()),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "QLinearSigmoid"), rules.along),
    **dict.fromkeys(("QLinearLeakyRelu",), rules.along),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), _elementwise(0, 3)),
    "QLinearSoftmax": rules.softmax,
    "QLinearConcat": _joined,
    "GatherBlockQuantized": rules.gathered,
    **dict.fromkeys(("FusedConv", "Conv", "NhwcFusedConv", "QLinearConv"), rules.images),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), rules.images),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), rules.images),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), rules.images),
}
