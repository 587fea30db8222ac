"""What all adapters of one bank share: the constants with which a branch computes x delta^T.

Features come first, tokens last. With S = `splitting`'s outer matrix of the axis and the routes of
the transform (fourier_format.spectral),

    X = inner_in (S_in x^T)           (blocks, width, N): the rows of A_in x^T that routes begin at
    G = X[gather]                     (blocks', width', N): one row for each route, by its end
    delta x^T = S_out^T (inner_out (G * c[entry]))

where weights and 1 / (out * in) are in `inner_out`. Routes of one block are padded to one width;
padding has zeros in `inner_out`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from fourier_converters.onnx.live.splitting import Split, splits
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.spectral.axes import Axis, FourierAxis
from fourier_format.spectral.routes import Routes, routes


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """The constants of one bank.

    Attributes:
        split_in: How the axis of the inputs is split.
        split_out: That of the outputs.
        order_in: (in,) int64: a permutation of x's features; None for none.
        order_out: (out,) int64: that of the outputs, by which they are put back; None for none.
        outer_in: (2 F, a) float32.
        inner_in: (F, width, 2 b) float32.
        gather: (F' * width',) int64, rows of X.
        entry: (F' * width',) int64, which coefficient each route has.
        inner_out: (F', 2 b', width') float32.
        outer_out: (a', 2 F') float32.
    """

    split_in: Split
    split_out: Split
    order_in: Array | None
    order_out: Array | None
    outer_in: Array
    inner_in: Array
    gather: Array
    entry: Array
    inner_out: Array
    outer_out: Array

    @property
    def nbytes(self) -> int:
        """The bytes of all constants."""
        arrays = (self.outer_in, self.inner_in, self.gather, self.entry, self.inner_out)
        return sum(a.nbytes for a in arrays) + self.outer_out.nbytes

    @property
    def products(self) -> int:
        """Multiplications and additions a token: of the inputs, routes and outputs together."""
        matrices = (self.inner_in, self.inner_out)
        outer = self.outer_in.size * self.split_in.b + self.outer_out.size * self.split_out.b
        return outer + sum(m.size for m in matrices) + self.gather.size


def basis(transform: str, shape: tuple[int, int], entries: Array) -> Basis:
    """Returns the constants for `entries` (n, 2) of delta weights of `shape`.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: a transform that is no Fourier transform.
    """
    found = routes(transform, shape, entries)
    in_axis, out_axis = _fourier(found.in_axis, transform), _fourier(found.out_axis, transform)
    in_rows, where = np.unique(found.in_rows, return_inverse=True)  # where each route begins
    split_in = _cheapest(in_axis.length, in_rows)
    split_out = _cheapest(out_axis.length, found.out_rows.ravel())
    begun = split_in.place(in_rows)
    slots, width = _slots(begun.block, split_in.blocks)
    inner_in = np.zeros((split_in.blocks * width, 2 * split_in.b), np.float32)
    inner_in[slots] = begun.vector
    out = _ends(found, split_out, slots[where.ravel()])
    return Basis(
        split_in,
        split_out,
        in_axis.order,
        None if out_axis.order is None else np.argsort(out_axis.order),
        split_in.outer().astype(np.float32),
        inner_in.reshape(split_in.blocks, width, 2 * split_in.b),
        out.gather,
        out.entry,
        out.inner,
        np.ascontiguousarray(split_out.outer().T, np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    gather: Array
    entry: Array
    inner: Array


def _ends(found: Routes, split: Split, begin: Array) -> _Ends:
    """Returns the routes by where they end; `begin` says which row of X each begins at."""
    terms, count = found.out_rows.shape
    ended = split.place(found.out_rows.ravel())
    slots, width = _slots(ended.block, split.blocks)
    gather = np.zeros(split.blocks * width, np.int64)
    entry = np.zeros(split.blocks * width, np.int64)
    inner = np.zeros((split.blocks * width, 2 * split.b))
    gather[slots] = begin
    entry[slots] = np.tile(np.arange(count), terms)
    inner[slots] = ended.vector * (found.norm * found.weights.ravel())[:, None]
    stacked = inner.reshape(split.blocks, width, 2 * split.b).transpose(0, 2, 1)
    return _Ends(gather, entry, np.ascontiguousarray(stacked, np.float32))


def _slots(block: Array, blocks: int) -> tuple[Array, int]:
    """Returns where each member of a block stands, in blocks of one width, and that width."""
    counts = np.bincount(block, minlength=blocks)
    width = int(counts.max())
    by_block = np.argsort(block, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.empty(block.size, np.int64)
    slots[by_block] = block[by_block] * width + np.arange(block.size) - starts[block[by_block]]
    return slots, width


def _cheapest(length: int, rows: Array) -> Split:
    """Returns the split with the fewest products a token for these rows of A."""
    return min(_divisions(length), key=lambda split: _cost(split, rows))


def _cost(split: Split, rows: Array) -> float:
    frequency = rows // 2
    k1 = frequency % split.a
    block = np.where(k1 >= split.blocks, split.a - k1, k1)
    width = int(np.bincount(block).max())
    return (2 * split.blocks) * split.length + split.blocks * width * (2 * split.b + _ROW)


_ROW = 8
"""What it costs to gather and scale a row, in multiplications."""


@cache
def _divisions(length: int) -> tuple[Split, ...]:
    return tuple(splits(length))


def _fourier(axis: Axis, transform: str) -> FourierAxis:
    if isinstance(axis, FourierAxis):
        return axis
    problem = f"a live graph computes Fourier transforms, not {transform}"
    advice = "merge this adapter (without --live), or serve it merged"
    raise UnsupportedError(
        Violation("E-CONVERSION-UNSUPPORTED", "transform", problem, advice=advice)
    )


def total_bytes(bases: Iterable[Basis]) -> int:
    """Returns the bytes of the constants of several banks."""
    return sum(one.nbytes for one in bases)
