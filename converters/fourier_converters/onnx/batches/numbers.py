"""Small numbers: what a graph computes of shapes, once every size is a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from fourier_converters.onnx.operators import ONNX
from fourier_converters.onnx.protos import attribute
from fourier_format.adapter import Array

MOST: Final = 1 << 17
"""Numbers that a value may hold to be computed: those of a mask's indices."""
_DTYPES: Final[dict[int, Any]] = {
    1: np.float32,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    11: np.float64,
}


def compute(node: Any, given: Sequence[Array | None]) -> Array | None:
    """Returns what a node of ONNX gives for these inputs; None where that is not computed here."""
    rule = _RULES.get(node.op_type) if node.domain in ONNX else None
    if rule is None or any(value is None for value in given[:1]):
        return None
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(rule(node, *given))
    except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
        return None
    return result if result.size <= MOST and result.dtype.kind in "biuf" else None


def _ints(node: Any, name: str, given: Array | None) -> list[int]:
    """Returns what is an input in newer versions of an operator, and an attribute in older ones."""
    return attribute(node, name, []) if given is None else [int(n) for n in np.ravel(given)]


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


def _divide(_: Any, a: Array, b: Array) -> Array:
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    if np.any(b == 0):
        raise ZeroDivisionError
    return np.asarray(np.trunc(a / b), a.dtype)


def _remainder(node: Any, a: Array, b: Array) -> Array:
    if np.any(b == 0):
        raise ZeroDivisionError
    return np.asarray(np.fmod(a, b) if attribute(node, "fmod", 0) else np.mod(a, b))


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
    if np.prod(shape, dtype=np.float64) > MOST:
        raise ValueError
    return np.full([int(n) for n in shape], fill)


def _range(_: Any, start: Array, limit: Array, step: Array) -> Array:
    if abs(float(limit - start) / float(step)) > MOST:
        raise ValueError
    return np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _expand(_: Any, x: Array, shape: Array) -> Array:
    whole = np.broadcast_shapes(x.shape, tuple(int(n) for n in shape))
    if np.prod(whole, dtype=np.float64) > MOST:
        raise ValueError
    return np.broadcast_to(x, whole)


_RULES: Final[dict[str, Callable[..., Any]]] = {
    "Identity": lambda _, x: x,
    "Cast": _cast,
    "Gather": lambda n, x, i: np.take(x, i, axis=attribute(n, "axis", 0)),
    "Concat": lambda n, *x: np.concatenate(x, axis=attribute(n, "axis", 0)),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _full,
    "Range": _range,
    "Where": lambda _, c, a, b: np.where(c, a, b),
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Div": _divide,
    "Mod": _remainder,
    "Neg": lambda _, a: -a,
    "Abs": lambda _, a: np.abs(a),
    "Floor": lambda _, a: np.floor(a),
    "Ceil": lambda _, a: np.ceil(a),
    "Min": lambda _, *x: np.minimum.reduce(np.broadcast_arrays(*x)),
    "Max": lambda _, *x: np.maximum.reduce(np.broadcast_arrays(*x)),
    "Equal": lambda _, a, b: a == b,
    "Less": lambda _, a, b: a < b,
    "Greater": lambda _, a, b: a > b,
    "LessOrEqual": lambda _, a, b: a <= b,
    "GreaterOrEqual": lambda _, a, b: a >= b,
    "Not": lambda _, a: ~a,
    "And": lambda _, a, b: a & b,
    "Or": lambda _, a, b: a | b,
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
