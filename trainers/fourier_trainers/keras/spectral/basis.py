"""A basis: what all delta weights with the same entries share, and their arithmetic in keras.ops.

Keras stores every kernel with its input axes first, so that what is computed here is the transpose
of the canonical delta weight, (in, out): delta^T = A_in^T M^T A_out. Gradients are the backend's:
each step is linear, and its gradient as cheap as itself.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import ops

from fourier_format.adapter import Array, read_only
from fourier_trainers.keras.spectral.axes import Axis, applied, matmul
from fourier_trainers.spectral.routes import routes


class Basis:
    """The transform, shape and entries of delta weights.

    Attributes:
        transform: The registered name.
        shape: (out, in).
        entries: (n, 2) int32.
    """

    def __init__(self, transform: str, shape: tuple[int, int], entries: Array) -> None:
        """Takes what an entry set states.

        Raises:
            UnsupportedError: The transform is not registered.
        """
        r = routes(transform, shape, entries)
        self.transform: Final = transform
        self.shape: Final = shape
        self.entries: Final = read_only(entries)
        self._out: Final[Axis] = applied(r.out_axis)
        self._in: Final[Axis] = applied(r.in_axis)
        weights = r.norm * r.weights / self._out.weights[r.out_rows]  # (s, n)
        self._by_in: Final = _cells(r.in_rows, self._out.place(r.out_rows), self._out, weights)
        weights = weights / self._in.weights[r.in_rows]
        self._by_out: Final = _cells(r.out_rows, self._in.place(r.in_rows), self._in, weights)

    @property
    def count(self) -> int:
        """The number n of entries."""
        return int(self.entries.shape[0])

    @property
    def rank(self) -> int:
        """The number m of rows of A_in that are used at all."""
        return int(self._by_in.used.size)

    def delta_weight(self, scaled: Any) -> Any:
        """Returns the transposed delta weight, (in, out), of scaled coefficients (n,)."""
        used = self._by_out.used
        half = self._in.inverse(_scattered(self._by_out, scaled))  # (m, r_in) -> (m, in)
        if used.size < self._out.rows:
            half = _spread(half, self._out.place(used), self._out.rows)  # (m, in) -> (r_out, in)
        else:
            half = ops.take(half, np.argsort(self._out.place(used)), axis=0)
        return self._out.inverse(ops.transpose(half))  # (in, r_out) -> (in, out)

    def product(self, scaled: Any, x: Any) -> Any:
        """Returns x delta^T without the delta weight, (t, in) -> (t, out)."""
        place = self._in.place(self._by_in.used)
        spectrum = ops.take(self._in.forward(x), place, axis=1)  # (t, r_in) -> (t, m)
        return matmul(spectrum, self._factor(scaled))

    def columns(self, scaled: Any, positions: Any) -> Any:
        """Returns columns of the delta weight, (t, out), at positions (t,)."""
        factor = self._factor(scaled)
        dtype = keras.backend.standardize_dtype(factor.dtype)
        return matmul(self._in.columns(self._by_in.used, positions, dtype), factor)

    def _factor(self, scaled: Any) -> Any:
        """Returns M^T A_out, (m, out), for the rows of A_in that are used."""
        return self._out.inverse(_scattered(self._by_in, scaled))


class _Cells(NamedTuple):
    """The cells of M, or of its transpose, that hold coefficients; only rows that are used count.

    Attributes:
        used: (m,) int64, the rows.
        shape: (m, r).
        places: (s n,) int32, the cells, row by row.
        weights: (s, n) float64.
    """

    used: Array
    shape: tuple[int, int]
    places: Array
    weights: Array


def _cells(rows: Array, columns: Array, axis: Axis, weights: Array) -> _Cells:
    used, row = np.unique(rows, return_inverse=True)
    places = row.reshape(rows.shape) * axis.rows + columns  # (s, n)
    return _Cells(used, (used.size, axis.rows), places.ravel().astype(np.int32), weights)


def _scattered(cells: _Cells, scaled: Any) -> Any:
    """Returns (m, r), the cells' sums."""
    dtype = keras.backend.standardize_dtype(scaled.dtype)
    values = ops.multiply(scaled[None, :], cells.weights.astype(dtype))  # (n,) -> (s, n)
    m, r = cells.shape
    return ops.reshape(_spread(ops.reshape(values, (-1,)), cells.places, m * r), (m, r))


def _spread(values: Any, places: Array, count: int) -> Any:
    """Returns `count` rows, each the sum of those of `values` that have its place."""
    zeros = ops.zeros((count, *values.shape[1:]), dtype=values.dtype)
    return ops.scatter_update(zeros, places[:, None].astype(np.int32), values, reduction="add")
