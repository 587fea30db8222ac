"""Small numbers: what a graph computes of shapes, once every size is a number."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from fourier_converters.onnx.operators import ONNX
from fourier_converters.onnx.protos import attribute
from fourier_format.adapter import Array

MOST: Final = 1 << 17
"""Numbers that a value may hold to be computed: those of a mask's indices."""
_MOST_AXES: Final = 64
"""Axes that NumPy's arrays may have."""
BROKEN: Final = (ArithmeticError, LookupError, TypeError, ValueError)
"""What is raised over a node that breaks its operator's definition."""
_DTYPES: Final[dict[int, Any]] = {
    1: np.float32,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    11: np.float64,
}


def compute(node: Any, given: Sequence[Array | None]) -> Array | None:
    """Returns what a node of ONNX gives for these inputs; None where that is not computed here.

    No rule makes more than `MOST` numbers, or copies of all of many inputs.
    """
    rule = _RULES.get(node.op_type) if node.domain in ONNX else None
    if rule is None or any(value is None for value in given[:1]):
        return None
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(rule(node, *given))
    except BROKEN:
        return None
    return result if result.size <= MOST and result.dtype.kind in "biuf" else None


def _bounded(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of a result, if that holds few enough numbers to be computed."""
    if math.prod(shape) > MOST:
        raise ValueError(shape)
    return tuple(shape)


def _elementwise(function: Callable[..., Any]) -> Callable[..., Array]:
    def rule(_: Any, *given: Array) -> Array:
        _bounded(np.broadcast_shapes(*map(np.shape, given)))
        return np.asarray(function(*given))

    return rule


def _ints(node: Any, name: str, given: Array | None) -> list[int]:
    """Returns what is an input in newer versions of an operator, and an attribute in older ones."""
    if given is None:
        said: list[int] = attribute(node, name, [])
        return said
    if given.size > _MOST_AXES:
        raise ValueError(name)
    return [int(n) for n in np.ravel(given)]


def _constant(node: Any) -> Array:
    for entry in node.attribute:
        if entry.name == "value_int":
            return np.asarray(entry.i, np.int64)
        if entry.name == "value_ints":
            return np.asarray([*entry.ints], np.int64)
        if entry.name == "value_float":
            return np.asarray(entry.f, np.float32)
    raise ValueError(node.name)


def _cast(node: Any, x: Array) -> Array:
    return x.astype(_DTYPES[attribute(node, "to", 0)]) if attribute(node, "to", 0) in _DTYPES else x


def _divide(a: Array, b: Array) -> Array:
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    if np.any(b == 0):
        raise ZeroDivisionError
    return np.asarray(np.trunc(a / b), a.dtype)


def _remainder(node: Any, a: Array, b: Array) -> Array:
    if np.any(b == 0):
        raise ZeroDivisionError
    _bounded(np.broadcast_shapes(a.shape, np.shape(b)))
    return np.asarray(np.fmod(a, b) if attribute(node, "fmod", 0) else np.mod(a, b))


def _gather(node: Any, x: Array, index: Array) -> Array:
    axis = attribute(node, "axis", 0)
    _bounded((*np.delete(x.shape, axis), *np.shape(index)))
    return np.take(x, index, axis=axis)


def _concat(node: Any, *given: Array) -> Array:
    _bounded([sum(map(np.size, given))])
    return np.concatenate(given, axis=attribute(node, "axis", 0))


def _unsqueeze(node: Any, x: Array, axes: Array | None = None) -> Array:
    wanted = _ints(node, "axes", axes)
    return np.expand_dims(x, tuple(wanted))


def _squeeze(node: Any, x: Array, axes: Array | None = None) -> Array:
    wanted = _ints(node, "axes", axes)
    return np.squeeze(x, tuple(wanted) or None)


def _slice(node: Any, x: Array, *rest: Array | None) -> Array:
    starts, ends, axes, steps = ([*rest, None, None, None, None])[:4]
    first, last = _ints(node, "starts", starts), _ints(node, "ends", ends)
    along = _ints(node, "axes", axes) or list(range(len(first)))
    by = [1] * len(first) if steps is None else [int(n) for n in np.ravel(steps)]
    parts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        floor = step < 0 and end < -x.shape[axis]
        parts[axis] = slice(start, None if floor else end, step)
    return np.asarray(x[tuple(parts)])


def _reshape(_: Any, x: Array, shape: Array) -> Array:
    if np.any(shape == 0):
        raise ValueError
    return x.reshape([int(n) for n in shape])


def _reduce(function: Callable[..., Any]) -> Callable[..., Array]:
    def rule(node: Any, x: Array, axes: Array | None = None) -> Array:
        along = tuple(_ints(node, "axes", axes)) or None
        kept = bool(attribute(node, "keepdims", 1))
        return np.asarray(function(x, axis=along, keepdims=kept))

    return rule


def _full(node: Any, shape: Array) -> Array:
    fill: Any = 0.0
    for entry in node.attribute:
        if entry.name == "value":
            from onnx import numpy_helper

            fill = numpy_helper.to_array(entry.t).ravel()[0]
    return np.full(_bounded([int(n) for n in shape]), fill)


def _range(_: Any, start: Array, limit: Array, step: Array) -> Array:
    first, last, by = (np.asarray(number).item() for number in (start, limit, step))
    if not abs((last - first) / by) <= MOST:  # so that NaN is none, either
        raise ValueError
    return np.arange(first, last, by, dtype=start.dtype)


def _expand(_: Any, x: Array, shape: Array) -> Array:
    whole = np.broadcast_shapes(x.shape, tuple(int(n) for n in shape))
    return np.broadcast_to(x, _bounded(whole))


_RULES: Final[dict[str, Callable[..., Any]]] = {
    "Identity": lambda _, x: x,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _full,
    "Range": _range,
    "Where": _elementwise(np.where),
    "Add": _elementwise(operator.add),
    "Sub": _elementwise(operator.sub),
    "Mul": _elementwise(operator.mul),
    "Div": _elementwise(_divide),
    "Mod": _remainder,
    "Neg": _elementwise(operator.neg),
    "Abs": _elementwise(np.abs),
    "Floor": _elementwise(np.floor),
    "Ceil": _elementwise(np.ceil),
    "Min": _elementwise(lambda *x: functools.reduce(np.minimum, x)),
    "Max": _elementwise(lambda *x: functools.reduce(np.maximum, x)),
    "Equal": _elementwise(operator.eq),
    "Less": _elementwise(operator.lt),
    "Greater": _elementwise(operator.gt),
    "LessOrEqual": _elementwise(operator.le),
    "GreaterOrEqual": _elementwise(operator.ge),
    "Not": _elementwise(operator.invert),
    "And": _elementwise(operator.and_),
    "Or": _elementwise(operator.or_),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}


def held(node: Any) -> Array | None:
    """Returns the number or numbers that a Constant holds beside tensors."""
    try:
        return _constant(node)
    except ValueError:
        return None


def parts(x: Array, count: int, sizes: Array | None) -> list[Array | None]:
    """Returns what Split makes of a list of numbers."""
    if sizes is None:
        return list(np.array_split(x, count)) if len(x) % count == 0 else []
    ends = np.cumsum(np.ravel(sizes))
    return [x[end - size : end] for size, end in zip(np.ravel(sizes), ends, strict=True)]
