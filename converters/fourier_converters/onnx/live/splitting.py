"""The real DFT of one axis in two products, as matrices (Cooley and Tukey, Math. Comp. 19, 1965).

With d = a b, a position p = b p1 + p2 and a frequency k = k1 + a k2,

    X[k] = sum_p2 exp(-2 pi i p2 k / d) (sum_p1 x[b p1 + p2] exp(-2 pi i p1 k1 / a)),

so that a product with `outer` over p1 and one over p2, for each k1 by itself, cost d (a + 2 b) a
token and not d^2. As x is real, k1 runs to a / 2 only: a frequency is there itself, or mirrored,
d - k, which is its conjugate. At k1 = 0 and a / 2 the outer sums are real; they are the two parts
of one group, as real and imaginary parts are of the others. All of it is real arithmetic. b = 1 is
the direct form, which any length has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fourier_format.adapter import Array


class Place(NamedTuple):
    """Where rows of A (see fourier_format.spectral.axes) are found.

    Attributes:
        group: (m,) int64.
        vector: (m, 2 b) float64: the row is the group's part of `outer`'s result times it.
    """

    group: Array
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
    def groups(self) -> int:
        """The groups of two outer sums, each for every p2."""
        return (self.a + 1) // 2

    def outer(self) -> Array:
        """Returns (2 groups, a) float64; a group's rows are cosines and negated sines.

        Group 0 has k1 = 0 and, where a is even, k1 = a / 2.
        """
        phase = np.outer(np.arange(self.groups), np.arange(self.a)) % self.a
        angle = 2 * np.pi * phase / self.a  # (groups, a)
        pairs = np.stack([np.cos(angle), -np.sin(angle)], axis=1)  # (groups, 2, a)
        pairs[0, 1] = (-1.0) ** np.arange(self.a) if self.a % 2 == 0 else 0.0
        return pairs.reshape(-1, self.a)

    def place(self, rows: Array) -> Place:
        """Returns where `rows` (m,) of A are: row 2 w is the cosine of w, 2 w + 1 the sine.

        The 2 b elements of a vector belong to a group's first sum at every p2, then to its second.
        """
        frequency, is_sine = rows // 2, rows[:, None] % 2 == 1
        mirrored = frequency % self.a > self.a // 2
        k = np.where(mirrored, self.length - frequency, frequency)
        k1 = k % self.a
        angle = 2 * np.pi * (np.outer(k, np.arange(self.b)) % self.length) / self.length  # (m, b)
        cosine, sine = np.cos(angle), np.sin(angle)
        conjugate = np.where(mirrored, -1.0, 1.0)[:, None]
        first = np.where(is_sine, -sine * conjugate, cosine)
        second = np.where(is_sine, cosine * conjugate, sine)
        zero = np.zeros_like(cosine)
        half = (2 * k1 == self.a)[:, None]  # its real sum is the second of group 0
        real = (k1 == 0)[:, None] | half
        vector = np.concatenate(
            [np.where(half, zero, first), np.where(half, first, np.where(real, zero, second))],
            axis=1,
        )
        return Place(np.where(real[:, 0], 0, k1), vector)


def splits(length: int) -> list[Split]:
    """Returns every way to split an axis, the direct form first."""
    return [Split(length // b, b) for b in range(1, length + 1) if length % b == 0]
