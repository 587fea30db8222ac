"""A basis: what all delta weights with the same entries share, and their arithmetic in keras.ops.

Keras stores every kernel with its input axes first, so that what is computed here is the transpose
of the canonical delta weight, (in, out): delta^T = A_in^T M^T A_out. Gradients of the two main ways
are stated, since backends differentiate a real FFT by a complex one and a gather by a dense sum:
they are made of the same transforms, and the gradient of n coefficients is n samples.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import ops

from fourier_format.adapter import Array, read_only
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.spectral.routes import routes
from fourier_trainers.keras.spectral.axes import LONGEST, Axis, applied, matmul


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
        self._weights: Final = r.norm * r.weights  # (s, n)
        _refuse_large(shape, int(np.unique(r.in_rows).size), self._out.rows)
        by_out = self._weights / self._out.weights[r.out_rows]
        by_in = self._weights / self._in.weights[r.in_rows]
        both = by_out / self._in.weights[r.in_rows]
        out_places, in_places = self._out.place(r.out_rows), self._in.place(r.in_rows)
        self._by_in: Final = _cells(r.in_rows, out_places, self._out, by_out)
        self._by_out: Final = _cells(r.out_rows, in_places, self._in, both)
        self._to_out: Final = _Sums(in_places, out_places, self._out.rows, by_out)
        self._to_in: Final = _Sums(out_places, in_places, self._in.rows, by_in)

    @property
    def count(self) -> int:
        """The number n of entries."""
        return int(self.entries.shape[0])

    @property
    def rank(self) -> int:
        """The number m of rows of A_in that are used at all."""
        return int(self._by_in.used.size)

    @property
    def routes(self) -> int:
        """The number s n of cells of M that coefficients are put in."""
        return int(self._weights.size)

    def delta_weight(self, scaled: Any) -> Any:
        """Returns the transposed delta weight, (in, out), of scaled coefficients (n,)."""

        def compute(scaled: Any) -> Any:
            def gradient(*given: Any, upstream: Any = None) -> Any:
                return self._sampled(given[-1] if upstream is None else upstream)

            return self._dense(scaled), gradient

        return ops.custom_gradient(compute)(scaled)

    def product(self, scaled: Any, x: Any) -> Any:
        """Returns x delta^T without the delta weight, (t, in) -> (t, out)."""
        if x.shape[0] == 0:  # torch's FFT and TensorFlow's scatter take nothing empty
            return ops.zeros((0, self.shape[0]), dtype=x.dtype)

        def compute(scaled: Any, x: Any) -> Any:
            table = ops.transpose(self._in.forward(x))  # (r_in, t)
            y = self._out.inverse(ops.transpose(_summed(self._to_out, table, scaled)))

            def gradient(*given: Any, upstream: Any = None) -> Any:
                g = given[-1] if upstream is None else upstream
                of_g = ops.transpose(self._out.forward(g))  # (r_out, t)
                of_x = self._in.inverse(ops.transpose(_summed(self._to_in, of_g, scaled)))
                return self._products(table, of_g), of_x

            return y, gradient

        return ops.custom_gradient(compute)(scaled, x)

    def columns(self, scaled: Any, positions: Any) -> Any:
        """Returns columns of the delta weight, (t, out), at positions (t,)."""
        factor = self._factor(scaled)
        dtype = keras.backend.standardize_dtype(factor.dtype)
        return matmul(self._in.columns(self._by_in.used, positions, dtype), factor)

    def _factor(self, scaled: Any) -> Any:
        """Returns M^T A_out, (m, out), for the rows of A_in that are used."""
        return self._out.inverse(_scattered(self._by_in, scaled))

    def _dense(self, scaled: Any) -> Any:
        """Returns the transposed delta weight, (in, out)."""
        used = self._by_out.used
        half = self._in.inverse(_scattered(self._by_out, scaled))  # (m, r_in) -> (m, in)
        if used.size < self._out.rows:
            half = _spread(half, self._out.place(used), self._out.rows)  # (m, in) -> (r_out, in)
        else:
            half = ops.take(half, np.argsort(self._out.place(used)), axis=0)
        return self._out.inverse(ops.transpose(half))  # (in, r_out) -> (in, out)

    def _sampled(self, gradient: Any) -> Any:
        """Returns the coefficients' gradient, (n,), from that of a transposed delta weight."""
        half = ops.transpose(self._out.forward(gradient))  # (in, out) -> (r_out, in)
        half = ops.take(half, self._out.place(self._by_out.used), axis=0)  # (m, in)
        cells = ops.reshape(self._in.forward(half), (-1,))  # (m, r_in)
        return self._by_entry(ops.take(cells, self._by_out.places))

    def _products(self, table: Any, of_g: Any) -> Any:
        """Returns the coefficients' gradient, (n,), from the spectra of an input and a gradient."""
        rows = ops.take(table, self._to_out.source, axis=0)  # (s n, t)
        return self._by_entry(ops.sum(rows * ops.take(of_g, self._to_in.source, axis=0), axis=1))

    def _by_entry(self, values: Any) -> Any:
        """Returns weighted sums, (n,), of the cells of each entry, (s n,)."""
        weights = self._weights.astype(keras.backend.standardize_dtype(values.dtype))
        return ops.sum(ops.multiply(ops.reshape(values, weights.shape), weights), axis=0)


def _refuse_large(shape: tuple[int, int], used: int, rows: int) -> None:
    """Refuse what does not fit the integers of 32 bits that backends count with.

    Raises:
        UnsupportedError: The input axis is longer than phases can be computed for, or the table of
            cells has more than 2^31.
    """
    if shape[1] > LONGEST or used * rows >= 2**31:
        problem, got = "a matrix of this size is not trained in Keras", f"{shape[0]}x{shape[1]}"
        expected = f"at most {LONGEST} inputs"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", "shape", problem, got, expected))


class _Sums:
    """M, or its transpose, as sums of weighted rows of a table.

    Attributes:
        source: (s n,) int32, the row of the table that is read.
        target: (s n, 1) int32, the row that it goes to.
        count: The number of those.
        weights: (s, n) float64.
    """

    def __init__(self, source: Array, target: Array, count: int, weights: Array) -> None:
        """Takes rows, (s, n), and their weights."""
        self.source: Final = source.ravel().astype(np.int32)
        self.target: Final = target.reshape(-1, 1).astype(np.int32)
        self.count: Final = count
        self.weights: Final = weights


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


def _weighted(weights: Array, scaled: Any) -> Any:
    """Returns what each cell holds, (s n,), of coefficients (n,)."""
    dtype = keras.backend.standardize_dtype(scaled.dtype)
    cells = ops.convert_to_tensor(weights.astype(dtype))  # torch takes no array for the left side
    return ops.reshape(ops.multiply(cells, scaled), (-1,))


def _scattered(cells: _Cells, scaled: Any) -> Any:
    """Returns (m, r), the cells' sums."""
    m, r = cells.shape
    values = _weighted(cells.weights, scaled)
    return ops.reshape(_spread(values, cells.places, m * r), (m, r))


def _summed(sums: _Sums, table: Any, scaled: Any) -> Any:
    """Returns weighted sums of the rows of a table, (r, t) -> (count, t)."""
    values = _weighted(sums.weights, scaled)[:, None]
    rows = ops.take(table, sums.source, axis=0) * values  # (s n, t)
    zeros = ops.zeros((sums.count, ops.shape(table)[1]), dtype=table.dtype)
    return ops.scatter_update(zeros, sums.target, rows, reduction="add")


def _spread(values: Any, places: Array, count: int) -> Any:
    """Returns `count` rows, each the sum of those of `values` that have its place."""
    zeros = ops.zeros((count, *values.shape[1:]), dtype=values.dtype)
    return ops.scatter_update(zeros, places[:, None].astype(np.int32), values, reduction="add")
