"""Rows: what is known of where the batch lies in a value, and how operands are brought together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fourier_converters.onnx.batches.sizes import Kind, Shape
from fourier_format.adapter import Array


@dataclass(frozen=True, slots=True)
class Rows:
    """Index i of an axis belongs to row (i // inner) % batch.

    Attributes:
        axis: The axis.
        outer: What lies in this axis outside of the batch.
        inner: What lies in it inside of the batch; None where that is not known.
    """

    axis: int
    outer: int = 1
    inner: int | None = 1


@dataclass(frozen=True, slots=True)
class Shared:
    """All rows share the value: no row of an input is in it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing is known.

    Attributes:
        why: In words: the node that lost the batch.
        mixed: Whether rows were certainly combined, in floating point.
        unread: Whether a shape could not be read, and that is all: rows are in their order, on an
            axis that nobody knows.
    """

    why: str
    mixed: bool = False
    unread: bool = False


State = Rows | Shared | Lost
SHARED: Final = Shared()
_FLOATS: Final = frozenset({1, 10, 11, 16})
"""TensorProto.DataTypes of floating point."""


@dataclass(frozen=True, slots=True)
class Step:
    """A node and all that is known of it.

    Attributes:
        node: The node.
        states: Of its inputs, None for those that are absent.
        kinds: Of its inputs.
        numbers: What small inputs hold.
        outputs: The kinds of its outputs.
        batch: The batch's size in numbers.
        version: The opset of ONNX's own operators.
        trusted: Whether the inputs call the batch by its name.
        named: The node in words.
    """

    node: Any
    states: Sequence[State | None]
    kinds: Sequence[Kind]
    numbers: Sequence[Array | None]
    outputs: Sequence[Kind]
    batch: int
    version: int
    trusted: bool
    named: str

    def state(self, slot: int) -> State:
        """Returns an input's state; an absent input is shared."""
        found = self.states[slot] if slot < len(self.states) else None
        return SHARED if found is None else found

    def shape(self, slot: int) -> Shape:
        """Returns an input's shape."""
        return self.kinds[slot].shape if slot < len(self.kinds) else None

    def rank(self, slot: int) -> int | None:
        """Returns how many axes an input has."""
        shape = self.shape(slot)
        return None if shape is None else len(shape)

    def has(self, slot: int) -> bool:
        """Whether an input is given."""
        return slot < len(self.states) and self.states[slot] is not None

    def integers(self, slot: int) -> list[int] | None:
        """Returns the numbers of a small input."""
        array = self.numbers[slot] if slot < len(self.numbers) else None
        return None if array is None else [int(n) for n in array.ravel()]

    def lost(self, problem: str, *, unread: bool = False) -> Lost:
        """Returns that nothing is known after this node, but their order if it is just `unread`."""
        return Lost(f"{self.named} {problem}", unread=unread)

    def mixed(self) -> Lost:
        """Returns that this node combines rows."""
        floats = bool(self.kinds) and any(kind.dtype in _FLOATS for kind in self.kinds)
        return Lost(f"{self.named} combines different rows of the batch", mixed=floats)


def aligned(step: Step, slots: Sequence[int], result: Shape) -> State:
    """Returns where the batch is in what is computed element by element of some inputs."""
    operands = [(step.state(slot), step.shape(slot)) for slot in slots]
    lost = [state for state, _ in operands if isinstance(state, Lost)]
    mixed = next((state for state in lost if state.mixed), None)
    if mixed is not None or not any(isinstance(state, Rows) for state, _ in operands):
        return mixed or next(iter(lost), SHARED)
    if result is None:
        ranks = {None if shape is None else len(shape) for _, shape in operands}
        known = len(ranks) == 1 and None not in ranks
        result = (None,) * len(operands[0][1] or ()) if known else None
    found = _together(step, operands, result)
    for state, shape in operands:
        if isinstance(state, Lost):
            ordered = step.trusted and state.unread
            if not (ordered and isinstance(found, Rows) and _beside(found, shape, result)):
                return state
    return found


def _together(
    step: Step, operands: Sequence[tuple[State, Shape]], result: Shape
) -> Rows | Shared | Lost:
    """Returns where the operands that have the batch have it in the result."""
    found: Rows | None = None
    for state, shape in operands:
        if not isinstance(state, Rows):
            continue
        if shape is None or result is None or not fits(shape, state.axis, result):
            return step.lost("has operands of unknown shapes")
        moved = replace(state, axis=state.axis + len(result) - len(shape))
        found = moved if found is None else agreed(found, moved)
        if found is None:
            return step.lost("has operands with the batch on different axes")
    return found or SHARED


def _beside(found: Rows, shape: Shape, result: Shape) -> bool:
    """Whether an operand whose rows are in order can only have them where others have theirs.

    Its size on that axis is theirs: a model that treats its rows alone, and so gives each the same
    answer in any batch, must have put equal rows beside each other. Where it is only supposed that
    the first axis is the batch, this proves nothing: tokens do not stay alone.
    """
    if shape is None or result is None or len(shape) != len(result):
        return False
    size = shape[found.axis]
    return size is not None and size == result[found.axis]


def fits(shape: Shape, axis: int, result: Shape) -> bool:
    """Whether an operand's axis is whole in the result, and not repeated there."""
    if shape is None or result is None:
        return False
    at = axis + len(result) - len(shape)
    if at < 0:
        return False
    size, whole = shape[axis], result[at]
    return size is None or whole is None or size == whole


def agreed(a: Rows, b: Rows) -> Rows | None:
    """Returns what both say, None where they differ."""
    if (a.axis, a.outer) != (b.axis, b.outer):
        return None
    if a.inner is None or b.inner is None:
        return replace(a, inner=a.inner if b.inner is None else b.inner)
    return a if a.inner == b.inner else None


def reshaped(step: Step, rows: Rows, shape: Shape, result: Shape) -> State:
    """Returns where the batch is once `shape` is read as `result`, in the same order.

    In that order the batch is a digit: with `slower` in front of it and `faster` behind it, element
    e belongs to row (e // faster) % batch. An axis whose own digits include all of it holds it.
    """
    if shape is None or result is None:
        return step.lost("changes the shape to one that is not known", unread=True)
    sizes = shape[rows.axis + 1 :]
    if rows.inner is None or any(n is None for n in (*sizes, *result)):
        return _leading(step, rows, shape, result)
    faster = rows.inner * math.prod(n or 0 for n in sizes)
    found: list[Rows] = []
    behind = 1
    for axis in reversed(range(len(result))):
        size = result[axis] or 0
        whole = behind * size
        span = faster * step.batch
        if behind and size and span and faster % behind == 0 and whole % span == 0:
            found.append(Rows(axis, whole // span, faster // behind))
        behind = whole
    if not found:
        return step.lost("cuts the batch into pieces")
    # A batch of 1 is on every axis; it is kept where it stood, or where nothing else is.
    return min(found, key=lambda r: (r.outer, r.inner or 0, abs(r.axis - rows.axis)))


def _leading(step: Step, rows: Rows, shape: Shape, result: Shape) -> State:
    """The same where some sizes are not known, for a batch that is the slowest of all."""
    if shape is None or result is None or rows.axis or rows.outer != 1 or not result:
        return step.lost("changes a shape that is not known", unread=True)
    first = result[0]
    if first == step.batch:
        return Rows(0)  # the slowest index, cut after as many as there are rows
    if first is not None and first == shape[0]:
        return rows
    return step.lost("changes a shape that is not known", unread=True)
