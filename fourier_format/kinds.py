"""Kinds of target: how a stored weight becomes the canonical matrix (spec/registry.md, table 2).

The canonical matrix is (out, in), row-major: the layer computes y = x W^T with it. How a base
stores a weight is its `layout`, a fact of the base and never of the adapter.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fourier_format.adapter import Array
from fourier_format.errors import UsageError, Violation

LAYOUTS: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    "linear": {"out_in": (0, 1), "in_out": (1, 0)},
    "conv2d": {"oihw": (0, 1, 2, 3), "hwio": (3, 2, 0, 1)},
    "embedding": {"vocab_dim": (1, 0)},
}
"""kind -> layout -> order in which the stored axes become (out..., in...).

`einsum_dense` has no named layouts: the axes contracted with the input are given instead.
"""


def canonical_matrix(
    stored: Array, kind: str, layout: str | None = None, contracted: tuple[int, ...] = ()
) -> Array:
    """Returns the (out, in) canonical matrix of a stored weight; a view where possible.

    Args:
        stored: The weight as the base stores it.
        kind: "linear", "conv2d", "embedding" or "einsum_dense".
        layout: A key of `LAYOUTS[kind]`.
        contracted: For "einsum_dense", the kernel axes contracted with the input.

    Raises:
        UsageError: The kind or layout is unknown, or does not fit the number of axes.
    """
    order, out_axes = _order(kind, layout, contracted, stored.ndim)
    if len(order) != stored.ndim or not 0 < out_axes < stored.ndim:
        problem = (
            f"kind {kind!r} with layout {layout!r} does not fit a weight of {stored.ndim} axes"
        )
        raise UsageError(Violation("E-KIND-UNKNOWN", "canonical_matrix", problem))
    transposed = np.transpose(stored, order)
    out = math.prod(transposed.shape[:out_axes])
    return transposed.reshape(out, -1)  # (out, in)


def stored_form(
    matrix: Array,
    kind: str,
    layout: str | None,
    shape: tuple[int, ...],
    contracted: tuple[int, ...] = (),
) -> Array:
    """Returns a canonical `matrix` as a base stores it: what `canonical_matrix` undoes; a view.

    Args:
        matrix: (out, in).
        kind: As in `canonical_matrix`.
        layout: A key of `LAYOUTS[kind]`.
        shape: The stored weight's shape, whose canonical matrix has the shape of `matrix`.
        contracted: For "einsum_dense", the kernel axes contracted with the input.
    """
    order, _ = _order(kind, layout, contracted, len(shape))
    transposed = matrix.reshape([shape[axis] for axis in order])  # (out, in) -> (out..., in...)
    return np.transpose(transposed, np.argsort(order))


def _order(
    kind: str, layout: str | None, contracted: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], int]:
    """Returns the order in which stored axes become (out..., in...), and how many are out."""
    if kind == "einsum_dense":
        kept = tuple(axis for axis in range(rank) if axis not in contracted)
        return kept + tuple(sorted(contracted)), len(kept)
    return LAYOUTS.get(kind, {}).get(layout or "", ()), 1
