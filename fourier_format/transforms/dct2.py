"""The transform "dct2": the inverse of the orthonormal two-dimensional DCT-II.

    delta[p, q] = alpha * sum_k c_k * a(u_k, p, out) * a(v_k, q, in)
    a(f, x, N) = sqrt((1 if f = 0, else 2) / N) * cos(pi f (2 x + 1) / (2 N))

Source: spec, clause 3.2; arXiv 2502.06820 (LoCA), arXiv 2410.09103 (sDCTFT). The transform along
the output axis runs only over columns that hold an entry.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Array
from fourier_format.transforms.rows import Factors, Shape, Transform, workers


class CosineRows:
    """A delta weight, a few rows at a time.

    Attributes:
        shape: (out, in).
        norm: The Frobenius norm; the cosines are orthonormal.
    """

    def __init__(
        self,
        entries: Array,
        coefficients: Array,
        shape: Shape,
        alpha: float,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        """Takes what `dft2.rows` takes; the transform along the output axis is done here."""
        from scipy import fft  # here, so that a command line can speak before SciPy is loaded

        scaled = coefficients.astype(np.float64) * alpha  # (n,)
        columns, inverse = np.unique(entries[:, 1], return_inverse=True)  # (m,), (n,)
        spectrum = np.zeros((columns.size, shape[0]), dtype)
        spectrum[inverse, entries[:, 0]] = scaled
        self.shape: Final = shape
        self.norm: Final = math.sqrt(float((scaled**2).sum()))
        self._columns = columns
        self._idct = fft.idct
        self._spectrum = fft.idct(
            spectrum, axis=1, norm="ortho", overwrite_x=True, workers=workers(shape)
        )

    def __call__(self, start: int, stop: int) -> Array:
        """Returns the rows from `start` to before `stop`, (b, in)."""
        part = np.zeros((stop - start, self.shape[1]), self._spectrum.dtype)
        part[:, self._columns] = self._spectrum[:, start:stop].T  # (m, b) -> (b, in)
        rows: Array = self._idct(part, axis=1, norm="ortho", overwrite_x=True, workers=1)
        return rows


def norms(entries: Array, coefficients: Array, shape: Shape) -> Array:  # noqa: ARG001 -- as others
    """Returns the Frobenius norms of delta weights at alpha = 1, (L,), of (L, n) coefficients."""
    found: Array = np.sqrt((coefficients.astype(np.float64) ** 2).sum(axis=1))
    return found


def factors(entries: Array, shape: Shape) -> Factors:
    """Returns the factors: a(u_k, p, out) and a(v_k, q, in); rank n at most."""
    out, in_ = (_table(entries[:, axis], shape[axis]) for axis in (0, 1))
    return Factors(out, in_, (1,), 1)


def _table(frequencies: Array, size: int) -> Array:
    """Returns a(f, x, size), (size, n) float32, the phase reduced in integers first."""
    odd = 2 * np.arange(size, dtype=np.int64) + 1
    phase = odd[:, None] * frequencies.astype(np.int64) % (4 * size)  # (size, n)
    cosines = np.cos(np.arange(4 * size) * (np.pi / (2 * size)))[phase]
    scale = np.sqrt(np.where(frequencies == 0, 1, 2) / size)  # (n,)
    table: Array = (cosines * scale).astype(np.float32)
    return table


TRANSFORM: Final = Transform(CosineRows, norms, factors, terms=1)
