"""The best approximation of a delta weight by a matrix of low rank, from its few entries.

A delta weight of dft2 is a sum of cos(a + b) = cos a cos b - sin a sin b, a for the output axis and
b for the input axis. Cosines and sines of distinct frequencies up to one half are orthogonal
columns. So in their basis the delta is two small sparse matrices, one of cosines and one of sines,
with at most one value for each entry, and its singular values are theirs. The delta itself is never
made: at 4096 x 4096 with 1000 entries each of the two has some 800 rows.

Truncating the singular value decomposition is optimal: Eckart and Young, "The approximation of one
matrix by another of lower rank", Psychometrika 1, 1936.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from fourier_format.adapter import Array

_ROUNDING: Final = 1e-9
"""Relative: what a sum of energies may differ by from what it should be."""

_ROWS: Final = 4096
"""Rows of a basis at a time: a vocabulary's would take gigabytes."""


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """A delta weight as left @ right, as near to it as the rank allows.

    Attributes:
        left: (out, rank) float32.
        right: (rank, in) float32.
        energies: (m,) float64, the squares of the delta weight's singular values, the largest
            first, but for one common factor and for those that are zero whatever the coefficients.
    """

    left: Array
    right: Array
    energies: Array

    @property
    def kept(self) -> float:
        """The part of the squared Frobenius norm that is kept, 0 to 1; 1 of a delta of zeros."""
        total = float(self.energies.sum())
        return float(self.energies[: self.left.shape[1]].sum()) / total if total else 1.0

    def keeps(self, energy: float) -> bool:
        """Whether this part of the energy is kept, but for rounding."""
        return self.kept >= energy - _ROUNDING

    def rank_for(self, energy: float) -> int:
        """Returns the smallest rank that keeps this part of the energy, but for rounding."""
        sums = np.cumsum(self.energies)
        return int(np.searchsorted(sums, (energy - _ROUNDING) * sums[-1])) + 1


def low_rank(
    entries: Array, coefficients: Array, shape: tuple[int, int], alpha: float, rank: int
) -> LowRank:
    """Returns the best approximation of the delta weight by a matrix of rank at most `rank`.

    Args:
        entries: (n, 2) integers, (u, v).
        coefficients: (n,) float32, float16 or bfloat16.
        shape: (out, in).
        alpha: The scale.
        rank: The number of columns and rows; those beyond the delta's own rank are zero.

    Where the delta weight is beyond float32, so are `left` and `right`, with infinite values.
    """
    values = coefficients.astype(np.float64)
    blocks = [_block(entries, values, shape, sines=sines) for sines in (False, True)]
    parts = [_eigen(block) for block in blocks if block.core.size]
    energies = np.concatenate([part.energies for part in parts])  # (m,)
    order = np.argsort(-energies, kind="stable")
    left, right = np.zeros((shape[0], rank)), np.zeros((rank, shape[1]))
    start = 0
    for part in parts:
        places = np.flatnonzero((order >= start) & (order < start + part.energies.size))
        places = places[places < rank]
        left[:, places], right[places] = part.factors(order[places] - start)
        start += part.energies.size
    half = math.sqrt(abs(alpha) / (shape[0] * shape[1]))  # for either side
    with np.errstate(over="ignore"):
        left, right = left * half, right * math.copysign(half, alpha)
        return LowRank(left.astype(np.float32), right.astype(np.float32), energies[order])


@dataclass(frozen=True, slots=True, eq=False)
class _Basis:
    """Orthonormal columns: cosines or sines along one axis, made where they are needed.

    Attributes:
        frequencies: (a,) int64, distinct, at most half of the axis.
        size: The length of the axis.
        sines: Whether they are sines.
    """

    frequencies: Array
    size: int
    sines: bool

    @property
    def norms(self) -> Array:
        """(a,) the Euclidean norms of the waves before they are divided by them."""
        doubled = 2 * self.frequencies
        constant = (doubled == 0) | (doubled == self.size)  # cosines of 1, or of 1 and -1
        return np.sqrt(np.where(constant, self.size, self.size / 2))

    def times(self, matrix: Array) -> Array:
        """Returns basis @ matrix, (size, k), of an (a, k) matrix; a few rows at a time."""
        angles = np.arange(self.size) * (2 * np.pi / self.size)
        table = np.sin(angles) if self.sines else np.cos(angles)  # (size,)
        weights = matrix / self.norms[:, None]
        result = np.empty((self.size, matrix.shape[1]))
        for start in range(0, self.size, _ROWS):
            positions = np.arange(start, min(start + _ROWS, self.size))[:, None]
            phases = positions * self.frequencies % self.size  # (rows, a), reduced in integers
            result[start : start + _ROWS] = table[phases] @ weights
        return result


class _Block(NamedTuple):
    """The cosines or the sines of a delta weight: out_basis @ core @ in_basis.T.

    Attributes:
        out_basis: Of a columns.
        core: (a, b) float64, sparse.
        in_basis: Of b columns.
    """

    out_basis: _Basis
    core: Any
    in_basis: _Basis


class _Eigen(NamedTuple):
    """The singular vectors of a block, by the eigenvectors of the smaller of its two products.

    Attributes:
        block: The block, turned if it is taller than wide.
        energies: (a,) float64, the squares of its singular values.
        vectors: (a, a) float64, its left singular vectors.
        turned: Whether the block is the delta's transposed one.
    """

    block: _Block
    energies: Array
    vectors: Array
    turned: bool

    def factors(self, chosen: Array) -> tuple[Array, Array]:
        """Returns (out, k) and (k, in), whose product has the chosen singular values alone."""
        vectors = self.vectors[:, chosen]  # (a, k)
        root = self.energies[chosen] ** 0.25  # (k,), of each singular value: half for either side
        inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
        left = self.block.out_basis.times(vectors * root)  # (out, k)
        right = self.block.in_basis.times(self.block.core.T @ (vectors * inverse))  # (in, k)
        return (right, left.T) if self.turned else (left, right.T)


def _eigen(block: _Block) -> _Eigen:
    from scipy import linalg  # here, so that a command line can speak before SciPy is loaded

    turned = block.core.shape[0] > block.core.shape[1]
    if turned:
        block = _Block(block.in_basis, block.core.T, block.out_basis)
    energies, vectors = linalg.eigh((block.core @ block.core.T).toarray())  # (a,), (a, a)
    return _Eigen(block, np.maximum(energies, 0), vectors, turned)


def _block(entries: Array, coefficients: Array, shape: tuple[int, int], *, sines: bool) -> _Block:
    """Returns the cosines or the sines, with every frequency folded to at most half of its axis.

    A sine changes its sign when its frequency is folded, and is zero at frequencies 0 and one half.
    """
    from scipy import sparse

    sizes = np.array(shape)
    mirrored = sizes - entries  # (n, 2) int64
    folded = np.minimum(entries, mirrored)
    values = coefficients
    if sines:
        values = -np.where(folded == entries, 1.0, -1.0).prod(axis=1) * values
        there = ((folded > 0) & (2 * folded < sizes)).all(axis=1)
        folded, values = folded[there], values[there]
    (rows, row_of), (columns, column_of) = (
        np.unique(folded[:, axis], return_inverse=True) for axis in (0, 1)
    )
    out_basis, in_basis = _Basis(rows, shape[0], sines), _Basis(columns, shape[1], sines)
    values = values * out_basis.norms[row_of] * in_basis.norms[column_of]
    core = sparse.coo_array((values, (row_of, column_of)), shape=(rows.size, columns.size))
    return _Block(out_basis, core.tocsr(), in_basis)
