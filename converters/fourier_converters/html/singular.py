"""The singular values of a delta weight, from its few entries: the delta is never made.

A delta weight is A_out^T M A_in with a sparse M (`fourier_format.spectral`). With the rows of A
orthonormalised, A = R Q, its singular values are those of R_out M R_in^T, which is as sparse; R is
diagonal but for the rows of wavelets that an edge cuts. Parts of that matrix that share no row and
no column are independent, so each is decomposed alone: at 4096 x 4096 a thousand entries fall into
hundreds of tiny parts. Of a part with more than `EXACT` rows and columns only the `LEADING` largest
values are computed (ARPACK), and where that does not converge, none of the delta weight's. What was
found is taken out and the rest looked at: ARPACK may miss a value that is there twice, as every one
of dht2 is where all entries lie in one quarter of the spectrum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fourier_format.adapter import Array
from fourier_format.spectral.axes import Axis, FourierAxis, WaveletAxis
from fourier_format.spectral.routes import Routes

EXACT: Final = 1536
"""Rows, or columns if they are fewer, up to which every singular value of a part is computed."""

LEADING: Final = 64
"""How many are computed of a larger part."""

RESTARTS: Final = 100
"""Of ARPACK, at most. Parts of 1,700 rows took 20 at most, however near to each other values
were; SciPy would go on for ten times the rows, which is hours."""

_DIRECT: Final = 64
"""Rows up to which an SVD takes no longer than the eigenvalues of the Gram matrix."""

_FULL: Final = 0.1
"""Share of a part's cells that are not zero from which a full matrix is multiplied sooner: of 1,025
rows and columns its Gram matrix took 0.12 s, and 0.18 s, 0.9 s and 7.7 s as a sparse one with a
tenth, a third and all of the cells."""

_ROUNDING: Final = 1e-7
"""Relative to the largest value: what is below comes of rounding, as values are squared."""

_NEAR: Final = 1e-6
"""Relative, of squares: how near a look at the largest that is left comes to it."""

_WHOLE: Final = 1e-12
"""Relative to the energy: where less is left of it, nothing is. Sums of squares are as exact."""

_SUMS: Final = 1e-9
"""How near the squares of all values come to the energy: a wavelet's numbers are rounded."""

_ORTHOGONAL: Final = 1e-11
"""Below this an inner product of two rows is the rounding of the registry's numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Singular:
    """Singular values of one delta weight at alpha = 1.

    Attributes:
        values: (k,) float64, the largest first.
        energy: The squared Frobenius norm of the delta weight.
        complete: Whether all values that are not zero are there, or only the leading ones.
    """

    values: Array
    energy: float
    complete: bool

    def kept(self, rank: int) -> float | None:
        """Returns the part of the energy that the best matrix of a rank keeps; None if unknown."""
        if not (self.complete or rank <= self.values.size) or not self.energy:
            return None
        return min(1.0, float(np.square(self.values[:rank]).sum()) / self.energy)

    def rank_for(self, share: float) -> int | None:
        """Returns the smallest rank that keeps this part of the energy; None if unknown."""
        sums = np.cumsum(np.square(self.values))
        if not sums.size or sums[-1] < share * self.energy:
            return None
        return int(np.searchsorted(sums, share * self.energy)) + 1


class Core:
    """What all delta weights with the same entries share: the way to R_out M R_in^T."""

    def __init__(self, routes: Routes) -> None:
        """Takes the routes of the entries."""
        out_rows, self._out = np.unique(routes.out_rows, return_inverse=True)
        in_rows, self._in = np.unique(routes.in_rows, return_inverse=True)
        self._weights = routes.weights * routes.norm  # (s, n)
        self._shape = (out_rows.size, in_rows.size)
        self._left = _root(routes.out_axis, out_rows)
        self._right = _root(routes.in_axis, in_rows)

    def singular(self, coefficients: Array, norm: float) -> Singular:
        """Returns the singular values of the delta weight at alpha = 1.

        Args:
            coefficients: (n,) float32, float16 or bfloat16.
            norm: The delta weight's Frobenius norm at alpha = 1.
        """
        from scipy import sparse  # here, so that a command line can speak before SciPy is loaded

        cells = (self._weights * coefficients.astype(np.float64)).reshape(-1)
        places = (self._out.reshape(-1), self._in.reshape(-1))
        matrix = sparse.coo_array((cells, places), shape=self._shape).tocsr()
        found, floor = [np.empty(0)], 0.0
        for part in _parts(self._left @ matrix @ self._right.T):
            values, complete = _values(part)
            found.append(values)
            floor = floor if complete else max(floor, float(values.min(initial=np.inf)))
        values = np.sort(np.concatenate(found))[::-1]
        least = max(floor, _ROUNDING * float(values.max(initial=0.0)))
        values = values[(values >= least) & (values > 0)]
        complete = bool(np.isclose(np.square(values).sum(), norm**2, rtol=_SUMS, atol=0))
        return Singular(values, norm**2, complete and floor == 0)


def _parts(core: Any) -> Iterator[Any]:
    """Yields the parts of a sparse matrix that share no row and no column, each by coordinates."""
    from scipy import sparse
    from scipy.sparse import csgraph

    cells = core.tocoo()
    there = cells.data != 0
    rows, columns, values = cells.row[there], cells.col[there], cells.data[there]
    count = sum(core.shape)
    graph = sparse.coo_array((np.ones(rows.size), (rows, columns + core.shape[0])), (count, count))
    labels = csgraph.connected_components(graph, directed=False)[1][rows]
    order = np.argsort(labels, kind="stable")
    for cell in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if cell.size:
            (a, row), (b, column) = (
                np.unique(places[cell], return_inverse=True) for places in (rows, columns)
            )
            yield sparse.coo_array((values[cell], (row, column)), (a.size, b.size))


def _values(part: Any) -> tuple[Array, bool]:
    """Returns singular values of a part, in any order, and whether they are all.

    Of a large part that are the leading ones, or none where ARPACK fails.
    """
    from scipy import linalg
    from scipy.sparse.linalg import ArpackError

    size = min(part.shape)
    if size == 1:
        return np.array([np.sqrt(np.square(part.data).sum())]), True
    if size <= min(_DIRECT, EXACT):
        return linalg.svdvals(part.toarray()), True
    matrix = _quicker(part)
    wide = matrix if part.shape[0] == size else matrix.T
    if size > EXACT:
        try:
            energies, complete = _leading(wide, float(np.square(part.data).sum()))
        except ArpackError:
            return np.empty(0), False
        return np.sqrt(energies), complete
    gram = wide @ wide.T  # (size, size)
    whole = gram if isinstance(gram, np.ndarray) else gram.toarray()
    energies = linalg.eigvalsh(whole, check_finite=False)
    return np.sqrt(np.maximum(energies, 0)), True


def _leading(wide: Any, energy: float) -> tuple[Array, bool]:
    """Returns the squares of the leading singular values, and whether they are all.

    Args:
        wide: The matrix; it has no more rows than columns.
        energy: The sum of all squares.

    Raises:
        ArpackError: ARPACK does not converge.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = wide.shape[0]
    basis, energies = np.empty((size, 0)), np.empty(0)
    drawn = np.random.default_rng(0)  # ARPACK's own start is another one each time

    def outside(vector: Array) -> Array:
        left: Array = vector - basis @ (basis.T @ vector)
        return left

    def apply(vector: Array) -> Array:
        return outside(wide @ (wide.T @ outside(vector)))

    def largest(count: int, tolerance: float = 0) -> Any:
        gram = LinearOperator((size, size), apply, dtype=np.float64)
        start = drawn.standard_normal(size)
        return eigsh(gram, count, v0=start, maxiter=RESTARTS, tol=tolerance)

    while True:
        found, vectors = largest(LEADING)
        there = found > _ROUNDING**2 * found.max()  # vectors of zeros may lie in the basis
        basis = np.hstack([basis, vectors[:, there]])
        energies = np.sort(np.concatenate([energies, found[there]]))[::-1]
        if energies.sum() >= (1 - _WHOLE) * energy:
            return energies, True
        ((left,), _) = largest(1, _NEAR)
        if energies.size >= LEADING and left <= (1 + _NEAR) * energies[LEADING - 1]:
            return energies[:LEADING], False


def _quicker(part: Any) -> Any:
    """Returns a part as what is multiplied sooner: full, or compressed by rows."""
    full = part.nnz > _FULL * part.shape[0] * part.shape[1]
    return part.toarray() if full else part.tocsr()


def _root(axis: Axis, rows: Array) -> Any:
    """Returns R of the distinct `rows` of an axis, sparse: R^T R are their inner products."""
    if isinstance(axis, FourierAxis):
        return _wave_norms(axis.length, rows)
    from scipy import sparse
    from scipy.sparse import csgraph

    products = _products(axis, rows)
    blocks: Any = sparse.lil_array(products.shape)
    _, labels = csgraph.connected_components(products, directed=False)
    order = np.argsort(labels, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        block = products[group][:, group].toarray()
        energies, vectors = np.linalg.eigh(block)
        blocks[np.ix_(group, group)] = np.sqrt(np.maximum(energies, 0))[:, None] * vectors.T
    return blocks.tocsr()


def _wave_norms(length: int, rows: Array) -> Any:
    """Returns the norms of cosines and sines on a diagonal: they are orthogonal."""
    from scipy import sparse

    frequency, sine = np.divmod(rows, 2)
    constant = (frequency == 0) | (2 * frequency == length)  # cosines of 1, or of 1 and -1
    squares = np.where(constant, np.where(sine == 1, 0, length), length / 2)
    return sparse.diags_array(np.sqrt(squares)).tocsr()


def _products(axis: WaveletAxis, rows: Array) -> Any:
    """Returns the inner products of rows of A, sparse. Only at the edges do rows overlap."""
    from scipy import sparse

    index, band = np.divmod(rows, 2)
    positions = 2 * index[:, None] - (axis.taps - 2) + np.arange(axis.taps)  # (m, L)
    row, tap = np.nonzero((positions >= 0) & (positions < axis.length))
    places, column = np.unique(positions[row, tap], return_inverse=True)  # whatever the axis's size
    shape = (rows.size, places.size)
    matrix = sparse.csr_array((axis.filters[band[row], tap], (row, column)), shape)
    products = matrix @ matrix.T
    products.data[np.abs(products.data) < _ORTHOGONAL] = 0
    products.eliminate_zeros()
    return products
