"""What all adapters of one bank share: the constants with which a branch computes x delta^T.

Features come first, tokens last. With the routes of the transform (fourier_format.spectral) as
blocks (`blocks`), and each axis split in two products (`splitting`),

    X = inner_in (outer_in x^T)          (groups * width, N): the rows of A_in x^T that are needed
    Y = (weights * c[entries]) X[begins] (blocks * ROWS, N): rows of M A_in x^T
    delta x^T = outer_out (inner_out Y[ends])

1 / (out * in) is in `weights`. Groups are padded to one width; padding meets zeros in `inner_out`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from fourier_converters.onnx.live.blocks import blocks_of
from fourier_converters.onnx.live.splitting import Split, splits
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.spectral.axes import Axis, FourierAxis
from fourier_format.spectral.routes import routes


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """The constants of one bank.

    Attributes:
        split_in: How the axis of the inputs is split.
        split_out: That of the outputs.
        order_in: (in,) int64: a permutation of x's features; None for none.
        order_out: (out,) int64: that of the outputs, by which they are put back; None for none.
        outer_in: (2 groups, a) float32.
        inner_in: (groups, width, 2 b) float32.
        begins: (blocks, K) int64, rows of X.
        entries: (blocks, K) int64, which coefficient each column has.
        count: The coefficients of a target, n.
        weights: (blocks, ROWS, K) float32.
        ends: (groups', width') int64, rows of Y.
        inner_out: (groups', 2 b', width') float32.
        outer_out: (a', 2 groups') float32.
    """

    split_in: Split
    split_out: Split
    order_in: Array | None
    order_out: Array | None
    outer_in: Array
    inner_in: Array
    begins: Array
    entries: Array
    count: int
    weights: Array
    ends: Array
    inner_out: Array
    outer_out: Array

    @property
    def nbytes(self) -> int:
        """The bytes of all constants."""
        real = (self.outer_in, self.inner_in, self.weights, self.inner_out, self.outer_out)
        whole = (self.begins, self.entries, self.ends)
        return sum(array.nbytes for array in (*real, *whole))

    @property
    def products(self) -> int:
        """Multiplications a token, where it is a row's only target that reads its x."""
        outer = self.outer_in.size * self.split_in.b + self.outer_out.size * self.split_out.b
        return outer + self.inner_in.size + self.weights.size + self.inner_out.size


def basis(transform: str, shape: tuple[int, int], entries: Array) -> Basis:
    """Returns the constants for `entries` (n, 2) of delta weights of `shape`.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: a transform that is no Fourier transform.
    """
    found = routes(transform, shape, entries)
    in_axis, out_axis = _fourier(found.in_axis, transform), _fourier(found.out_axis, transform)
    out_order = out_axis.order
    blocks = blocks_of(found)
    begun, begins = np.unique(blocks.begins, return_inverse=True)
    side_in = _side(in_axis.length, begun)
    side_out = _side(out_axis.length, blocks.ends)
    ends = np.zeros(side_out.inner.shape[:2], np.int64)
    ends.ravel()[side_out.slots] = blocks.places
    return Basis(
        side_in.split,
        side_out.split,
        in_axis.order,
        None if out_order is None else np.argsort(out_order),
        side_in.split.outer().astype(np.float32),
        side_in.inner.astype(np.float32),
        side_in.slots[begins.reshape(blocks.begins.shape)],
        blocks.entries,
        entries.shape[0],
        blocks.weights.astype(np.float32),
        ends,
        np.ascontiguousarray(side_out.inner.transpose(0, 2, 1), np.float32),
        np.ascontiguousarray(side_out.split.outer().T, np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One axis: how it is split, its inner matrices, and where each row of A is in their result."""

    split: Split
    inner: Array
    slots: Array


def _side(length: int, rows: Array) -> _Side:
    """Returns the split with the fewest products a token for the distinct `rows` of A."""
    split = min(_divisions(length), key=lambda one: _cost(one, rows))
    group, vector = split.place(rows)
    counts = np.bincount(group, minlength=split.groups)
    width = int(counts.max())
    order = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.empty(rows.size, np.int64)
    slots[order] = group[order] * width + np.arange(rows.size) - starts[group[order]]
    inner = np.zeros((split.groups * width, 2 * split.b))
    inner[slots] = vector
    return _Side(split, inner.reshape(split.groups, width, 2 * split.b), slots)


def _cost(split: Split, rows: Array) -> int:
    k1 = (rows // 2) % split.a
    group = np.minimum(k1, split.a - k1) * (2 * k1 != split.a)
    width = int(np.bincount(group).max())
    return 2 * split.groups * split.length + split.groups * width * 2 * split.b


@cache
def _divisions(length: int) -> tuple[Split, ...]:
    return tuple(splits(length))


def _fourier(axis: Axis, transform: str) -> FourierAxis:
    if isinstance(axis, FourierAxis):
        return axis
    problem = f"a live graph computes Fourier transforms, not {transform}"
    advice = "merge this adapter (without --live), or serve it merged (`activate`)"
    raise UnsupportedError(
        Violation("E-CONVERSION-UNSUPPORTED", "transform", problem, advice=advice)
    )
