"""The real DFT of one axis in two products, as matrices (Cooley and Tukey, Math. Comp. 19, 1965).

With d = a b, a position p = b p1 + p2 and a frequency k = k1 + a k2,

    X[k] = sum_p2 exp(-2 pi i p2 k / d) (sum_p1 x[b p1 + p2] exp(-2 pi i p1 k1 / a)),

so that a product with `outer` over p1 and one with `inner` over p2, for each k1 by itself, cost
d (a + 2 b) a token and not d^2. As x is real, k1 runs to a // 2 only: a frequency is there itself,
or mirrored, d - k, which is its conjugate. All of it is real arithmetic. b = 1 is the direct form,
which any length has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fourier_format.adapter import Array


class Place(NamedTuple):
    """Where rows of A (see fourier_format.spectral.axes) are found.

    Attributes:
        block: (m,) int64, k1.
        vector: (m, 2 b) float64: the row of A is the block's part of `outer`'s result times it.
    """

    block: Array
    vector: Array


@dataclass(frozen=True, slots=True)
class Split:
    """An axis of length a * b.

    Attributes:
        a: The positions of the outer DFT.
        b: Those of the inner one.
    """

    a: int
    b: int

    @property
    def length(self) -> int:
        """The positions, d."""
        return self.a * self.b

    @property
    def blocks(self) -> int:
        """The outer frequencies, a // 2 + 1."""
        return self.a // 2 + 1

    def outer(self) -> Array:
        """Returns (2 (a // 2 + 1), a) float64; rows 2 k1 are cosines, 2 k1 + 1 negated sines."""
        phase = np.outer(np.arange(self.blocks), np.arange(self.a)) % self.a  # (F, a)
        angle = 2 * np.pi * phase / self.a
        return np.stack([np.cos(angle), -np.sin(angle)], axis=1).reshape(-1, self.a)

    def place(self, rows: Array) -> Place:
        """Returns where `rows` (m,) of A are: row 2 w is the cosine of w, 2 w + 1 the sine.

        The 2 b elements of a vector belong to the real parts at every p2, then the imaginary ones.
        """
        frequency, part = rows // 2, rows % 2
        mirrored = frequency % self.a >= self.blocks
        k = np.where(mirrored, self.length - frequency, frequency)
        phase = np.outer(k, np.arange(self.b)) % self.length  # (m, b)
        angle = 2 * np.pi * phase / self.length
        real = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)  # (m, 2 b)
        imaginary = np.concatenate([-np.sin(angle), np.cos(angle)], axis=1)
        conjugate = np.where(mirrored, -1.0, 1.0)[:, None]
        vector = np.where(part[:, None] == 0, real, imaginary * conjugate)
        return Place(k % self.a, vector)


def splits(length: int) -> list[Split]:
    """Returns every way to split an axis, the direct form first."""
    return [Split(length // b, b) for b in range(1, length + 1) if length % b == 0]
