"""One axis of a delta weight: what its matrix A is. How A is applied is each framework's affair.

Every transform is delta = A_out^T M A_in with a sparse M that holds the coefficients (`routes`).
An axis of d positions has r rows of A; `multiplicity` is a diagonal D that the inverse of a fast
transform has, z D A in place of z A, and that M can make up for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourier_format.adapter import Array


@dataclass(frozen=True, slots=True, eq=False)
class FourierAxis:
    """Row 2w of A is cos(2 pi w p / d), row 2w + 1 is -sin(2 pi w p / d), for w = 0 to d // 2.

    That is the real FFT with its real and imaginary parts side by side. With `cosine` the positions
    are permuted first, which turns the DFT into the DCT-II's (Makhoul, "A fast cosine transform in
    one and two dimensions", IEEE ASSP 28, 1980): row k of order p is position order[p].

    Attributes:
        length: The positions, d.
        cosine: Whether positions are permuted.
    """

    length: int
    cosine: bool = False

    @property
    def order(self) -> Array | None:
        """Which position stands where, (d,); None leaves them as they are. Made when asked for."""
        return cosine_order(self.length) if self.cosine else None

    @property
    def frequencies(self) -> int:
        """The frequencies of the half spectrum, r / 2."""
        return self.length // 2 + 1

    @property
    def rows(self) -> int:
        """The rows of A, r."""
        return 2 * self.frequencies

    @property
    def multiplicity(self) -> Array:
        """The diagonal of D, (r,) float64: the inverse FFT counts mirrored frequencies twice."""
        doubled = np.full(self.frequencies, 2.0)
        doubled[0] = 1.0
        if self.length % 2 == 0:
            doubled[-1] = 1.0
        return np.repeat(doubled, 2)


@dataclass(frozen=True, slots=True, eq=False)
class WaveletAxis:
    """Row 2i + b of A is w(b, i, y) = g_b[y + L - 2 - 2i], for b = 0, 1 (spec, clause 3.2).

    That is one level of a wavelet's analysis, low and high pass side by side.

    Attributes:
        length: The positions, d.
        filters: g_0 and g_1, (2, L) float64.
    """

    length: int
    filters: Array

    @property
    def taps(self) -> int:
        """The filters' length, L."""
        return int(self.filters.shape[1])

    @property
    def rows(self) -> int:
        """The rows of A, r."""
        return self.length + self.length % 2 + self.taps - 2

    @property
    def multiplicity(self) -> Array:
        """The diagonal of D, (r,) float64: ones."""
        return np.ones(self.rows)


Axis = FourierAxis | WaveletAxis


def cosine_order(length: int) -> Array:
    """Returns the positions' order that makes a DFT a DCT-II: the even ones, then the odd back."""
    return np.concatenate([np.arange(0, length, 2), np.arange(1, length, 2)[::-1]])
