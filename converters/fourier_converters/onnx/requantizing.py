"""Requantising: base + delta rounded to the codes of the base's own scheme, and what that loses.

A group of values keeps its scale and zero point where the new values fit its range, so that what
did not change keeps its code. Else both are chosen anew, from the smallest and the largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fourier_converters.onnx.candidates import Candidates
from fourier_converters.onnx.merging import Edit, refuse_nonfinite
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.quantized import (
    Levels,
    Quantized,
    group_shape,
    pack,
    spread,
    unpack,
)
from fourier_converters.onnx.replacing import placed
from fourier_converters.onnx.stores import Store
from fourier_converters.onnx.tensors import FOUR_BITS, dtype_of
from fourier_converters.onnx.uses import readers
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import DTYPES
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.transforms import delta_weight


@dataclass(frozen=True, slots=True, eq=False)
class Requantized:
    """What became of the targets of one quantised weight.

    Attributes:
        survives: Target -> the share of the change that the new codes carry: the projection of
            what changed on the delta, over the delta's squared norm.
    """

    survives: dict[str, float]


def refuse_shared(edits: Sequence[Edit], model: Model) -> None:
    """Check that nothing else reads the codes, scales and zero points that would change.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED.
    """
    found = []
    meant = {edit.candidate.use.read for edit in edits}
    for edit in edits:
        use = edit.candidate.use
        everyone = readers(model, use.value)
        shared = not everyone.reads <= meant or not everyone.only_reads
        if use.quantized is not None:
            own = {(read.scope, read.node) for read in model.reads(use.value)}
            shared |= any(
                len(reads) > 1 and not {(read.scope, read.node) for read in reads} <= own
                for reads in map(model.reads, use.quantized.tensors)
            )
        if shared:
            name = edit.target.name if edit.target else use.initializer
            problem = f"{use.initializer} or its scales are read elsewhere, too"
            advice = "use --quantized live"
            found.append(Violation("E-CONVERSION-UNSUPPORTED", name, problem, advice=advice))
    if found:
        raise UnsupportedError(found)


def requantize(
    edits: Sequence[Edit], adapter: Adapter, candidates: Candidates, store: Store
) -> Requantized:
    """Give one quantised weight new codes for base + delta; returns how much survives."""
    use, model = edits[0].candidate.use, candidates.model
    quantized = use.quantized
    if quantized is None:
        raise TypeError(use)
    before = unpack(quantized, model)
    matrix = np.array(use.view.apply(_values(before, quantized)))  # (out, in)
    old = matrix.copy()
    for edit in edits:
        part = matrix if edit.candidate.rows is None else matrix[slice(*edit.candidate.rows)]
        new = placed(edit.replaced, edit.candidate) if edit.replaced is not None else None
        if new is not None:
            part[...] = new
        if edit.target is not None:
            part += delta_weight(adapter, edit.target, np.float64)
    levels = _levels(use.view.invert(matrix), before, quantized, model)
    _replace(levels, quantized, model, store)
    changed = use.view.apply(_values(levels, quantized)) - old
    wanted = matrix - old
    return Requantized(dict(_survivals(edits, changed, wanted)))


def _values(levels: Levels, quantized: Quantized) -> Array:
    """Returns the float64 values of codes."""
    zero, scale = spread(levels.zero, quantized), spread(levels.scale, quantized)
    values: Array = (levels.codes.astype(np.float64) - zero) * scale.astype(np.float64)
    return values


def _survivals(edits: Sequence[Edit], changed: Array, wanted: Array) -> Any:
    for edit in edits:
        if edit.target is not None:
            rows = slice(*(edit.candidate.rows or (None,)))
            size = float(np.vdot(wanted[rows], wanted[rows]))
            share = float(np.vdot(changed[rows], wanted[rows])) / size if size else 1.0
            yield edit.target.name, share


def _levels(values: Array, old: Levels, quantized: Quantized, model: Model) -> Levels:
    zero, scale = old.zero.astype(np.float64), old.scale.astype(np.float64)
    low, high = _extremes(values, quantized)
    fits = (low >= (old.lowest - zero - 0.5) * scale) & (high <= (old.highest - zero + 0.5) * scale)
    fits &= scale > 0
    if _zero_points_move(old, quantized, model):
        new_scale, new_zero = _asymmetric(low, high, old)
    else:
        new_scale, new_zero = _around(low, high, old), zero
    stored = DTYPES[dtype_of(model.tensor(quantized.scale)) or "F32"]
    scale = np.where(fits, scale, new_scale).astype(stored).astype(np.float32)
    zero = np.where(fits, zero, new_zero)
    if np.issubdtype(old.zero.dtype, np.integer):
        zero = zero.astype(np.int32)
    divisor = spread(scale, quantized).astype(np.float64)
    codes = np.rint(values / np.where(divisor == 0, 1, divisor) + spread(zero, quantized))
    codes = np.clip(codes, old.lowest, old.highest).astype(old.codes.dtype)
    return Levels(codes, scale, zero, old.lowest, old.highest)


def _zero_points_move(old: Levels, quantized: Quantized, model: Model) -> bool:
    """Whether each group has a zero point of its own, and they are not all zero."""
    if quantized.zero is None or not old.zero.any():
        return False
    return bool(quantized.bits) or model.array(quantized.zero).size == old.scale.size


def _around(low: Array, high: Array, old: Levels) -> Array:
    """Returns scales for groups of these extremes, the zero points kept.

    What lies on a side where there are no codes cannot be held: it becomes zero.
    """
    middle = old.zero.astype(np.float64)
    below, above = middle - old.lowest, old.highest - middle
    needed = np.maximum(
        np.where(below > 0, -low / np.where(below > 0, below, 1), 0),
        np.where(above > 0, high / np.where(above > 0, above, 1), 0),
    )
    return np.where(needed > 0, needed, 1)


def _asymmetric(low: Array, high: Array, old: Levels) -> tuple[Array, Array]:
    """Returns scales and zero points for groups of these extremes; zero itself stays exact."""
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = (high - low) / (old.highest - old.lowest)
    scale = np.where(scale == 0, 1, scale)
    zero = np.clip(np.rint(old.lowest - low / scale), old.lowest, old.highest)
    return scale, zero


def _extremes(values: Array, quantized: Quantized) -> tuple[Array, Array]:
    """Returns the smallest and the largest value of each group, in the shape of the groups."""
    if quantized.axis is None:
        shape = group_shape(quantized)
        return values.min().reshape(shape), values.max().reshape(shape)
    if quantized.block > 1:
        starts = np.arange(0, quantized.shape[quantized.axis], quantized.block)
        low = np.minimum.reduceat(values, starts, axis=quantized.axis)
        return low, np.maximum.reduceat(values, starts, axis=quantized.axis)
    others = tuple(i for i in range(len(quantized.shape)) if i != quantized.axis)
    return values.min(axis=others, keepdims=True), values.max(axis=others, keepdims=True)


def _replace(levels: Levels, quantized: Quantized, model: Model, store: Store) -> None:
    codes, scale, zero = pack(levels, quantized)
    pairs: list[tuple[Value, Array]] = [(quantized.codes, codes), (quantized.scale, scale)]
    if quantized.zero is not None and zero is not None:
        pairs.append((quantized.zero, zero))
    for value, values in pairs:
        tensor = model.tensor(value)
        shape, dtype = tuple(tensor.dims), dtype_of(tensor)
        four_bits = tensor.data_type in FOUR_BITS or dtype is None
        with np.errstate(over="ignore"):
            typed = values if four_bits else values.astype(DTYPES[str(dtype)])
        refuse_nonfinite(typed, value.name)
        if typed.size != np.prod(shape, dtype=np.int64):
            typed = typed.reshape(-1)[:1]  # one zero point for many scales
        store.replace(tensor, np.ascontiguousarray(typed.reshape(shape)))
