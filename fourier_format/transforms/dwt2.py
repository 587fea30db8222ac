"""The transform "dwt2:<wavelet>": one level of a wavelet's synthesis, as PEFT's WaveFT has it.

    delta[p, q] = alpha * sum_k c_k * w(band(v_k, in), index(u_k, out), p)
                                    * w(band(u_k, out), index(v_k, in), q)
    w(b, i, y) = g_b[y + L - 2 - 2 i]

Source: spec, clause 3.2, which says what band and index are; arXiv 2505.12532, and what
peft 0.21.2 computes (tuners/waveft/layer.py). Each entry touches L x L cells, so all is sparse:
the filters as matrices A (out axis) and B (in axis) of the columns and rows that occur, and
delta = A^T S B with the coefficients in S.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Array
from fourier_format.transforms.rows import Factors, Shape, Transform
from fourier_format.wavelets import LOW_PASS

_DENSE: Final = 0.25
"""The part of S B from which it is kept as an array: sparse, it would take as much room."""

_ORTHOGONAL: Final = 1e-11
"""Below this an inner product of two rows is the rounding of the registry's numbers."""


class _Basis(NamedTuple):
    """The distinct w of one axis.

    Attributes:
        positions: (m, L) where along the axis each stands; some lie outside.
        values: (m, L) float64; zero outside.
        inverse: (n,) which of them each entry has.
    """

    positions: Array
    values: Array
    inverse: Array


class WaveletRows:
    """A delta weight, a few rows at a time.

    Attributes:
        shape: (out, in).
        norm: The Frobenius norm, known without computing a row.
    """

    def __init__(
        self,
        entries: Array,
        coefficients: Array,
        shape: Shape,
        alpha: float,
        dtype: npt.DTypeLike = np.float32,
        *,
        wavelet: str,
    ) -> None:
        """Takes what `dft2.rows` takes, and the wavelet's name."""
        scaled = coefficients.astype(np.float64) * alpha  # (n,)
        bases = _bases(entries, shape, wavelet)
        inner = _coefficient_matrix(bases, scaled) @ _matrix(bases[1], shape[1])  # (m, in) sparse
        dense = inner.nnz > _DENSE * inner.shape[0] * shape[1]
        self.shape: Final = shape
        self.norm: Final = _norm(bases, scaled)
        self._inner = inner.toarray().astype(dtype) if dense else inner.astype(dtype)
        self._outer = _matrix(bases[0], shape[0]).T.tocsr().astype(dtype)  # (out, m) sparse

    def __call__(self, start: int, stop: int) -> Array:
        """Returns the rows from `start` to before `stop`, (b, in)."""
        product = self._outer[start:stop] @ self._inner
        rows: Array = product if isinstance(product, np.ndarray) else product.toarray()
        return rows


def norms(entries: Array, coefficients: Array, shape: Shape, *, wavelet: str) -> Array:
    """Returns the Frobenius norms of delta weights at alpha = 1, (L,), of (L, n) coefficients."""
    bases = _bases(entries, shape, wavelet)
    return np.array([_norm(bases, row) for row in coefficients.astype(np.float64)])


def factors(entries: Array, shape: Shape, *, wavelet: str) -> Factors:
    """Returns the factors: the two w of each entry; rank n at most."""
    out, in_ = (
        _matrix(basis, size).toarray().astype(np.float32).T[:, basis.inverse]
        for basis, size in zip(_bases(entries, shape, wavelet), shape, strict=True)
    )
    return Factors(out, in_, (1,), 1)


def transform(wavelet: str) -> Transform:
    """Returns the transform of one wavelet.

    Raises:
        KeyError: The wavelet is not registered.
    """
    LOW_PASS[wavelet]
    return Transform(
        partial(WaveletRows, wavelet=wavelet),
        partial(norms, wavelet=wavelet),
        partial(factors, wavelet=wavelet),
        terms=1,
    )


def _bases(entries: Array, shape: Shape, wavelet: str) -> tuple[_Basis, _Basis]:
    """Returns the w along the output and the input axis; each takes the other axis's band."""
    both = filters(wavelet)
    parts = [split(entries[:, axis], shape[axis], both.shape[1]) for axis in (0, 1)]
    (out_bands, out_indices), (in_bands, in_indices) = parts
    return (
        _basis(in_bands, out_indices, shape[0], both),
        _basis(out_bands, in_indices, shape[1], both),
    )


def filters(wavelet: str) -> Array:
    """Returns g_0 and g_1, (2, L) float64.

    Raises:
        KeyError: The wavelet is not registered.
    """
    low = np.array(LOW_PASS[wavelet])
    return np.stack([low, low[::-1] * np.where(np.arange(low.size) % 2, -1, 1)])


def split(places: Array, size: int, length: int) -> tuple[Array, Array]:
    """Returns band and index, (n,) each, of u or v in the padded spectrum."""
    half = (size + size % 2 + length - 2) // 2
    padded = places.astype(np.int64) + (length // 2 - 1)
    bands = (padded >= half).astype(np.int64)
    return bands, padded - half * bands


def _basis(bands: Array, indices: Array, size: int, both: Array) -> _Basis:
    distinct, inverse = np.unique(2 * indices + bands, return_inverse=True)  # (m,), (n,)
    index, band = np.divmod(distinct, 2)
    length = both.shape[1]
    positions = 2 * index[:, None] - (length - 2) + np.arange(length)  # (m, L): y of g_b[0], ...
    inside = (positions >= 0) & (positions < size)
    return _Basis(positions, np.where(inside, both[band], 0.0), inverse)


def _matrix(basis: _Basis, size: int) -> Any:
    """Returns the w of a basis as a sparse (m, size)."""
    from scipy import sparse  # here, so that a command line can speak before SciPy is loaded

    row, tap = np.nonzero(basis.values)
    cells = (row, basis.positions[row, tap])
    return sparse.csr_array((basis.values[row, tap], cells), (len(basis.values), size))


def _coefficient_matrix(bases: tuple[_Basis, _Basis], scaled: Array) -> Any:
    """Returns S: the coefficients, sparse, by the w of their two axes; no two share a place."""
    from scipy import sparse  # here, so that a command line can speak before SciPy is loaded

    outer, inner = bases
    shape = (len(outer.values), len(inner.values))
    return sparse.csr_array((scaled, (outer.inverse, inner.inverse)), shape)


def _norm(bases: tuple[_Basis, _Basis], scaled: Array) -> float:
    """Returns the norm: the sum of S * (A A^T S B B^T). Only at the edges do rows overlap."""
    matrix = _coefficient_matrix(bases, scaled)
    outer, inner = (_products(basis) for basis in bases)
    return math.sqrt(max(0.0, float((matrix * (outer @ matrix @ inner)).sum())))


def _products(basis: _Basis) -> Any:
    """Returns the inner products of a basis, sparse (m, m), whatever the size of its axis."""
    places, columns = np.unique(basis.positions, return_inverse=True)
    compact = _Basis(columns.reshape(basis.positions.shape), basis.values, basis.inverse)
    rows = _matrix(compact, places.size)
    products = rows @ rows.T
    products.data[np.abs(products.data) < _ORTHOGONAL] = 0
    products.eliminate_zeros()
    return products
