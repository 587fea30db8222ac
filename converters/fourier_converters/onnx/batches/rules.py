"""Rules: where the batch is in what a node gives, by operator (onnx/docs/Operators.md).

What all rows share, as weights, scales and tables are, stands still here; which operator has which
rule is in `table`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fourier_converters.onnx.batches.rows import (
    SHARED,
    Lost,
    Rows,
    Shared,
    State,
    Step,
    aligned,
    fits,
    reshaped,
)
from fourier_converters.onnx.protos import attribute

Rule = Callable[[Step], State | list[State]]


def elementwise(step: Step) -> State:
    """Every operand takes part, one element with its like."""
    return aligned(step, range(len(step.states)), _result(step))


def along(step: Step) -> State:
    """The first operand decides; others are scales, bounds and the like, which rows share."""
    others = [step.state(slot) for slot in range(1, len(step.states))]
    lost = next((state for state in others if not isinstance(state, Shared)), None)
    return step.state(0) if lost is None else step.lost("has parameters that differ between rows")


def first(step: Step) -> State:
    """The first operand decides, whatever the others are."""
    return step.state(0)


def quantized(step: Step) -> list[State]:
    """DynamicQuantizeLinear: one scale for all rows, whose rounding is not counted as theirs."""
    state = step.state(0)
    return [state, SHARED, SHARED] if not isinstance(state, Lost) else [state] * 3


def transposed(step: Step) -> State:
    """The batch goes where its axis goes."""
    state, rank = step.state(0), step.rank(0)
    if not isinstance(state, Rows):
        return state
    order = attribute(step.node, "perm", [])
    if rank is None and not order:
        return step.lost("turns a value of an unknown shape", unread=True)
    order = order or list(reversed(range(rank or 0)))
    return replace(state, axis=order.index(state.axis))


def reshaping(step: Step) -> State:
    """Reshape and Flatten: the same elements in the same order."""
    state = step.state(0)
    if not isinstance(state, Rows):
        return state
    wanted = step.integers(1) if step.node.op_type == "Reshape" else None
    result, shape = _result(step), step.shape(0)
    if result is None and wanted and shape:
        # What is not inferred is still said: a leading 0 copies, or the batch stands there.
        copied = shape[0] if wanted[0] == 0 else wanted[0] if wanted[0] > 0 else None
        result = (copied, *([None] * (len(wanted) - 1)))
    return reshaped(step, state, shape, result)


def squeezed(step: Step) -> State:
    """Axes of size 1 go."""
    state, shape = step.state(0), step.shape(0)
    if not isinstance(state, Rows):
        return state
    given = step.integers(1) if step.has(1) else attribute(step.node, "axes", [])
    if shape is None or given is None or (not given and None in shape):
        return step.lost("drops axes of an unknown shape")
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    gone = {axis % len(shape) for axis in given} if given else set(ones)
    if state.axis in gone:
        return step.lost("drops the batch")
    return replace(state, axis=state.axis - sum(axis < state.axis for axis in gone))


def unsqueezed(step: Step) -> State:
    """Axes of size 1 come."""
    state, rank = step.state(0), step.rank(0)
    if not isinstance(state, Rows):
        return state
    given = step.integers(1) if step.has(1) else attribute(step.node, "axes", [])
    if rank is None or given is None:
        return step.lost("adds axes to an unknown shape")
    added = {axis % (rank + len(given)) for axis in given}
    left = [axis for axis in range(rank + len(given)) if axis not in added]
    return replace(state, axis=left[state.axis])


def expanded(step: Step) -> State:
    """Axes of size 1 are repeated, and others come in front."""
    state, shape, result = step.state(0), step.shape(0), _result(step)
    if not isinstance(state, Rows):
        return state
    wanted = step.shape(1)
    if result is None and shape and wanted and len(wanted) == 1 and wanted[0] is not None:
        result = (None,) * max(len(shape), wanted[0])
    return aligned(step, [0], result)


def tiled(step: Step) -> State:
    """Copies of an axis lie outside of what was in it."""
    state, repeats = step.state(0), step.integers(1)
    if not isinstance(state, Rows):
        return state
    if repeats is None or state.axis >= len(repeats):
        return step.lost("repeats axes as often as is not known")
    return replace(state, outer=state.outer * repeats[state.axis])


def kept(default: int, inputs: Sequence[int] = (0,), argument: int | None = None) -> Rule:
    """Returns the rule of what combines or picks along one axis, which must not be the batch's."""

    def rule(step: Step) -> State:
        state = aligned(step, inputs, _result(step) if len(inputs) > 1 else step.shape(inputs[0]))
        if not isinstance(state, Rows):
            return state
        axis = attribute(step.node, "axis", default)
        if argument is not None:
            numbers = step.integers(argument)
            if numbers is None or len(numbers) != 1:
                return step.lost("works along an axis that is not known")
            (axis,) = numbers
        rank = step.rank(inputs[0])
        if rank is None:
            return step.lost("works along an axis of an unknown shape")
        return step.mixed() if axis % rank == state.axis else state

    return rule


def normalized(step: Step) -> State:
    """LayerNormalization and its like work along an axis and all behind it."""
    return _before(step, step.state(0), step.rank(0), attribute(step.node, "axis", -1))


def softmax(step: Step) -> State:
    """Before opset 13 all axes from one on were one."""
    state, rank = step.state(0), step.rank(0)
    axis = attribute(step.node, "axis", 1 if step.version < 13 else -1)
    if step.version < 13 or not isinstance(state, Rows) or rank is None:
        return _before(step, state, rank, axis)
    return step.mixed() if axis % rank == state.axis else state


def _before(step: Step, state: State, rank: int | None, axis: int) -> State:
    if not isinstance(state, Rows):
        return state
    if rank is None:
        return step.lost("works along an axis of an unknown shape")
    return state if state.axis < axis % rank else step.mixed()


def concatenated(step: Step) -> State:
    """The batch must be on another axis than the one along which parts are joined."""
    rank = next((r for r in map(step.rank, range(len(step.states))) if r is not None), None)
    result = None if rank is None else (None,) * rank
    state = aligned(step, range(len(step.states)), result)
    if isinstance(state, Rows) and rank and attribute(step.node, "axis", 0) % rank == state.axis:
        return step.lost("joins parts along the batch")
    return state


def split(step: Step) -> State:
    """The same the other way round."""
    state, rank = step.state(0), step.rank(0)
    if not isinstance(state, Rows):
        return state
    if rank is None or attribute(step.node, "axis", 0) % rank == state.axis:
        return step.lost("cuts the batch")
    return state


def sliced(step: Step) -> State:
    """What is left of the batch must be all of it."""
    state, rank, node = step.state(0), step.rank(0), step.node
    if not isinstance(state, Rows):
        return state
    modern = step.has(1)
    starts = step.shape(1) if modern else (len(attribute(node, "starts", [])),)
    axes = step.integers(3) if step.has(3) else attribute(node, "axes", [])
    if rank is None or axes is None or starts is None or (not axes and starts[0] is None):
        return step.lost("cuts axes that are not known")
    axes = axes or list(range(starts[0] or 0))
    if state.axis not in {axis % rank for axis in axes}:
        return state
    at = [axis % rank for axis in axes].index(state.axis)
    begin = step.integers(1) if modern else attribute(node, "starts", [])
    steps = step.integers(4) if step.has(4) else [1] * len(axes)
    shape, result = step.shape(0), _result(step)
    size = None if shape is None else shape[state.axis]
    whole = size is not None and result is not None and result[state.axis] == size
    if begin and steps and begin[at] == 0 and steps[at] == 1 and whole:
        return state
    return step.lost("cuts the batch")


def gathered(step: Step) -> State:
    """Rows of a table, or parts along an axis."""
    axis = attribute(step.node, "gather_axis", 0) or attribute(step.node, "axis", 0)
    table, ids = step.state(0), step.state(1)
    rank, added = step.rank(0), step.rank(1)
    if isinstance(table, Lost) or isinstance(ids, Lost):
        return table if isinstance(table, Lost) else ids
    if rank is None or added is None:
        return step.lost("reads a table of an unknown shape")
    axis %= rank
    if isinstance(table, Shared):
        return replace(ids, axis=axis + ids.axis) if isinstance(ids, Rows) else SHARED
    if axis == 0 and isinstance(ids, Shared) and _own(step, table, nested=False):
        return Rows(0)
    if isinstance(ids, Rows) or table.axis == axis:
        return step.lost("picks rows of the batch")
    moved = table.axis if table.axis < axis else table.axis + added - 1
    return replace(table, axis=moved)


def gathered_nd(step: Step) -> State:
    """Where both have the batch in front as a batch of their own, or the table is shared."""
    table, ids, rank = step.state(0), step.state(1), step.rank(1)
    if isinstance(table, Shared) and isinstance(ids, Rows) and rank and ids.axis < rank - 1:
        return ids
    if isinstance(table, Rows) and isinstance(ids, Shared) and _own(step, table, nested=True):
        return Rows(0)
    inside = attribute(step.node, "batch_dims", 0) > 0
    if inside and isinstance(table, Rows) and isinstance(ids, Rows) and table.axis == 0:
        return table if table == ids else step.lost("picks rows of the batch")
    return step.lost("picks rows of the batch")


def _own(step: Step, rows: Rows, *, nested: bool) -> bool:
    """Whether the indices, which are known, give row r what is row r's, as exporters write masks.

    Args:
        step: The node.
        rows: Where the batch is in the table.
        nested: Whether the last axis of the indices has one for each of the table's first axes.
    """
    ids = step.numbers[1]
    if rows.axis or rows.outer != 1 or not rows.inner or ids is None or ids.ndim < 1 + nested:
        return False
    if len(ids) != step.batch or attribute(step.node, "batch_dims", 0):
        return False
    firsts = ids[..., 0] if nested else ids
    count = step.batch * rows.inner
    row = np.where(firsts < 0, firsts + count, firsts) // rows.inner
    return bool((np.moveaxis(row, 0, -1) == np.arange(step.batch)).all())


def padded(step: Step) -> State:
    """Nothing may be put before or behind the batch."""
    state, rank = step.state(0), step.rank(0)
    pads = step.integers(1) if step.has(1) else attribute(step.node, "pads", [])
    if not isinstance(state, Rows):
        return state
    plain = pads is not None and rank is not None and len(pads) == 2 * rank and not step.has(3)
    if not plain or pads is None or rank is None:
        return step.lost("pads axes that are not known")
    around = pads[state.axis] or pads[state.axis + rank]
    return step.lost("pads the batch") if around else state


def reduced(step: Step) -> State:
    """Sums and the like over some axes."""
    state, rank, node = step.state(0), step.rank(0), step.node
    if not isinstance(state, Rows):
        return state
    given = step.integers(1) if step.has(1) else attribute(node, "axes", [])
    if node.op_type in {"ArgMax", "ArgMin"}:
        given = [attribute(node, "axis", 0)]
    if given is None or rank is None:
        return step.lost("combines axes that are not known")
    if not given and attribute(node, "noop_with_empty_axes", 0):
        return state
    gone = {axis % rank for axis in given} if given else set(range(rank))
    if state.axis in gone:
        return step.mixed()
    before = 0 if attribute(node, "keepdims", 1) else sum(axis < state.axis for axis in gone)
    return replace(state, axis=state.axis - before)


def images(step: Step) -> State:
    """Convolutions, pooling and the like: the batch is in front, and stays there."""
    state = step.state(0)
    if not isinstance(state, Rows):
        return state
    shape, result = step.shape(0), _result(step)
    known = shape is not None and result is not None and result[0] is not None
    if (known and not fits(shape, 0, result)) or (
        not known and step.node.op_type in {"Resize", "Upsample"}
    ):
        return step.lost("may change the size of the batch")
    return along(step) if state.axis == 0 else step.mixed()


def recurrent(step: Step) -> State | list[State]:
    """LSTM, GRU and RNN; [steps, batch, features], or with `layout` the batch in front."""
    state = step.state(0)
    if not isinstance(state, Rows):
        return [state] * 3
    if attribute(step.node, "layout", 0):
        return [state] * 3 if state.axis == 0 else step.mixed()
    if state.axis != 1:
        return step.mixed()
    return [replace(state, axis=2), state, state]


def one_hot(step: Step) -> State:
    """A new axis."""
    state, rank = step.state(0), step.rank(0)
    if not isinstance(state, Rows) or rank is None:
        return state if not isinstance(state, Rows) else step.lost("has an unknown shape")
    new = attribute(step.node, "axis", -1) % (rank + 1)
    return replace(state, axis=state.axis + (state.axis >= new))


def triangle(step: Step) -> State:
    """Trilu works on the last two axes."""
    return _before(step, step.state(0), step.rank(0), -2)


def _result(step: Step) -> tuple[int | None, ...] | None:
    return step.outputs[0].shape if step.outputs else None
