"""Products: where the batch is behind matrix products, attention and their fused forms."""

from __future__ import annotations

from dataclasses import replace

from fourier_converters.onnx.batches.fused import broadcast
from fourier_converters.onnx.batches.rows import (
    SHARED,
    Lost,
    Rows,
    Shared,
    State,
    Step,
    agreed,
    aligned,
    fits,
)
from fourier_converters.onnx.batches.rules import Rule
from fourier_converters.onnx.protos import attribute


def matmul(left: int, right: int, bias: int | None = None) -> Rule:
    """Returns the rule of a product of two inputs, whatever else is read between them."""

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
    slots, states = (left, right), (step.state(left), step.state(right))
    lost = sorted((s for s in states if isinstance(s, Lost)), key=lambda s: not s.mixed)
    if (lost and lost[0].mixed) or all(isinstance(state, Shared) for state in states):
        return lost[0] if lost else SHARED
    ranks = [step.rank(slot) or 0 for slot in slots]
    if not all(ranks):
        return lost[0] if lost else step.lost("multiplies values of unknown shapes")
    rank = max(ranks) if min(ranks) > 1 else max(ranks) - 1
    turned = attribute(step.node, "transA", 0), attribute(step.node, "transB", 0)
    moved: list[Rows] = []
    for side, state in enumerate(states):
        if isinstance(state, Rows):
            axis = _behind(state, ranks[side], turned[side], side, rank)
            if axis is None:
                return step.mixed()
            moved.append(replace(state, axis=axis))
    if len(moved) == 2:
        found = agreed(*moved)
        inside = found is not None and found.axis < rank - 2
        return (
            found if found and inside else step.lost("multiplies each row of the batch with each")
        )
    return _beside(step, states, slots) if lost else _one_side(step, moved[0], slots, states)


def _one_side(
    step: Step, moved: Rows, slots: tuple[int, int], states: tuple[State, State]
) -> State:
    """Only one side has the batch: the other must not repeat it."""
    shapes = [step.shape(slot) or () for slot in slots]
    short = min(len(shape) for shape in shapes) < 2
    leading = () if short else broadcast(*(shape[:-2] for shape in shapes))
    if leading is None:
        return step.lost("multiplies values of unknown shapes")
    side = 0 if isinstance(states[0], Rows) else 1
    own = states[side]
    before = moved.axis < len(leading)
    if (
        isinstance(own, Rows)
        and before
        and not fits(shapes[side], own.axis, (*leading, None, None))
    ):
        return step.lost("repeats the batch")
    return moved


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


def rows_of(slot: int = 0) -> Rule:
    """Returns the rule of a product whose other operand is a weight."""

    def rule(step: Step) -> State:
        state, rank = step.state(slot), step.rank(slot)
        if not isinstance(state, Rows):
            return state
        if rank is None:
            return step.lost("multiplies a value of an unknown shape")
        return step.mixed() if state.axis == rank - 1 else state

    return rule


def einsum(step: Step) -> State:
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


def leading_batch(slots: tuple[int, ...], axes: tuple[int, ...]) -> Rule:
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


def elementwise_of(*slots: int) -> Rule:
    """Returns the rule of what is computed element by element of some inputs."""
    return lambda step: aligned(
        step, [slot for slot in slots if step.has(slot)], step.outputs[0].shape
    )


def skipped(step: Step) -> State:
    """SkipLayerNormalization: a sum, then each token by itself."""
    slots = [slot for slot in (0, 1) if step.has(slot)]
    state = aligned(step, slots, broadcast(*(step.shape(slot) for slot in slots)))
    rank = step.rank(0)
    if isinstance(state, Rows) and (rank is None or state.axis == rank - 1):
        return step.mixed()
    return state


def joined(step: Step) -> State:
    """QLinearConcat: scale and zero point before all, and behind each operand."""
    axis = attribute(step.node, "axis", 0)
    parts = range(2, len(step.states), 3)
    rank = step.rank(2)
    state = aligned(step, parts, None if rank is None else (None,) * rank)
    if isinstance(state, Rows) and rank and axis % rank == state.axis:
        return step.lost("joins parts along the batch")
    return state
