"""Rows first: how tokens are put in the order of the batch's rows, and terms put back.

A branch works on matrices (rows, tokens of a row, features). Most exporters keep the batch in
front; some modules work with tokens in front, (tokens, rows, features), and some flatten both.
"""

from __future__ import annotations

from enum import Enum

from fourier_converters.onnx.batches import Batch
from fourier_converters.onnx.live.nodes import Nodes


class Arrangement(Enum):
    """How the rows of the batch lie in a value whose features come last."""

    ROWS_OUTSIDE = "rows outside"
    ROWS_INSIDE = "rows inside"


def arrangement(batch: Batch) -> Arrangement | None:
    """Returns how rows lie; None where a branch cannot be computed of them."""
    if batch.axis == 0 and batch.order != "fastest":
        return Arrangement.ROWS_OUTSIDE
    if batch.rank is not None and batch.axis == batch.rank - 2 and batch.order != "slowest":
        return Arrangement.ROWS_INSIDE
    return None


def batch_size(nodes: Nodes, batch: Batch) -> str:
    """Returns how many rows the batch has, int64 (1,)."""
    shape = nodes.add("Shape", batch.source, name="shape")
    axis = nodes.constants.integers(batch.source_axis)
    return nodes.add("Gather", shape, axis, axis=0)


def rows_outside(nodes: Nodes, value: str, batch: Batch, width: int) -> str:
    """Returns `value` with the rows of the batch slowest and `width` features last."""
    if arrangement(batch) is Arrangement.ROWS_OUTSIDE:
        return value
    return _turned(nodes, value, batch, width, rows_first=False)


def put_back(nodes: Nodes, term: str, batch: Batch, width: int, shape: str) -> str:
    """Returns a term whose rows are slowest in the order and `shape` of what it is added to."""
    if arrangement(batch) is Arrangement.ROWS_INSIDE:
        term = _turned(nodes, term, batch, width, rows_first=True)
    return nodes.add("Reshape", term, shape)


def bias_term(nodes: Nodes, y: str, bias: str, rows: str, batch: Batch, shape: str) -> str:
    """Returns a bias for each row as a term of the shape of `y`.

    Args:
        nodes: Where nodes are added.
        y: A value whose features the bias has.
        bias: (rows, width).
        rows: int64 (1,): 1 or the batch.
        batch: How rows lie in `y`.
        shape: The shape of `y`.
    """
    integers = nodes.constants.integers
    width = nodes.add("Gather", nodes.add("Shape", bias), integers(1), axis=0)
    if arrangement(batch) is Arrangement.ROWS_OUTSIDE:
        tokens = nodes.add("Concat", rows, integers(-1), width, axis=0)
        each = nodes.add("Concat", rows, integers(1), width, axis=0)
    else:
        tokens = nodes.add("Concat", integers(-1), batch_size(nodes, batch), width, axis=0)
        each = nodes.add("Concat", integers(1), rows, width, axis=0)
    size = nodes.add("Shape", nodes.add("Reshape", y, tokens))
    wide = nodes.add("Expand", nodes.add("Reshape", bias, each), size)
    return nodes.add("Reshape", wide, shape)


def _turned(nodes: Nodes, value: str, batch: Batch, width: int, *, rows_first: bool) -> str:
    size, rest = batch_size(nodes, batch), nodes.constants.integers(-1)
    leading = (size, rest) if rows_first else (rest, size)
    shape = nodes.add("Concat", *leading, nodes.constants.integers(width), axis=0)
    return nodes.add("Transpose", nodes.add("Reshape", value, shape), perm=[1, 0, 2])
