"""Sums of waves w_k e^(2 pi i (u_k p / out + v_k q / in)), of which the real part counts.

The real part of an inverse DFT is the inverse of the spectrum's Hermitian half, so the spectrum is
folded to in // 2 + 1 columns, and the transform along the output axis runs only over columns that
hold an entry: 6 times faster than the complex transform at 4096 (benchmarks/delta_weight.py).
"dft2" has real w, "dht2" complex ones.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Array
from fourier_format.transforms.rows import Shape, workers


class WaveRows:
    """The real part of a sum of waves, a few rows at a time.

    Attributes:
        shape: (out, in).
        norm: The Frobenius norm, known without computing a row.
    """

    def __init__(self, entries: Array, waves: Array, shape: Shape, dtype: npt.DTypeLike) -> None:
        """Takes (n, 2) entries and (n,) float64 or complex128 waves w.

        The transform along the output axis is done here.
        """
        from scipy import fft  # here, so that a command line can speak before SciPy is loaded

        columns, cells, values = _folded(entries, waves, shape)  # (m,), (k,), (k,)
        spectrum = np.zeros((columns.size, shape[0]), np.result_type(dtype, np.complex64))
        spectrum.reshape(-1)[cells] = values
        self.shape: Final = shape
        self.norm: Final = _norm(columns[cells // shape[0]], values, shape)
        self._columns = columns
        self._irfft = fft.irfft
        self._spectrum = fft.ifft(
            spectrum, axis=1, norm="forward", overwrite_x=True, workers=workers(shape)
        )

    def __call__(self, start: int, stop: int) -> Array:
        """Returns the rows from `start` to before `stop`, (b, in)."""
        in_ = self.shape[1]
        half = np.zeros((stop - start, in_ // 2 + 1), self._spectrum.dtype)
        half[:, self._columns] = self._spectrum[:, start:stop].T  # (m, b) -> (b, in // 2 + 1)
        rows: Array = self._irfft(half, n=in_, axis=1, norm="forward", workers=1)
        return rows


def norm_of(entries: Array, waves: Array, shape: Shape) -> float:
    """Returns the Frobenius norm of the real part of a sum of waves, from the spectrum alone."""
    columns, cells, values = _folded(entries, waves, shape)
    return _norm(columns[cells // shape[0]], values, shape)


def _folded(entries: Array, waves: Array, shape: Shape) -> tuple[Array, Array, Array]:
    """Returns the half spectrum: its non-empty columns (m,), and what is in their cells.

    Each entry stands at (u, v) with half its wave and at its mirror (-u, -v) with the conjugate of
    that; of the two, the ones in columns 0 to in // 2 are kept. In columns 0 and in / 2 both are.

    Returns:
        The columns; flat positions (k,) in the transposed (m, out) array of these columns; and the
        values there (k,).
    """
    out, in_ = shape
    u, v = entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64)
    rows = np.concatenate([u, -u % out])  # (2n,)
    cols = np.concatenate([v, -v % in_])
    halves = np.concatenate([waves, waves.conj()]) / 2
    kept = cols <= in_ // 2
    columns, inverse = np.unique(cols[kept], return_inverse=True)  # (m,)
    cells, place = np.unique(inverse * out + rows[kept], return_inverse=True)
    return columns, cells, _summed(place, halves[kept], cells.size)


def _summed(place: Array, values: Array, size: int) -> Array:
    """Returns (size,) sums of the values that share a place."""
    if not np.iscomplexobj(values):
        return np.bincount(place, values, minlength=size)
    real, imaginary = (np.bincount(place, v, minlength=size) for v in (values.real, values.imag))
    total: Array = real + 1j * imaginary
    return total


def _norm(columns: Array, values: Array, shape: Shape) -> float:
    """Returns the norm by Parseval: of columns other than 0 and in / 2 the mirrors count too."""
    mirrored = (columns > 0) & (2 * columns != shape[1])
    total = float((np.abs(values) ** 2 * (1 + mirrored)).sum())
    return math.sqrt(shape[0] * shape[1] * total)


class Tables(NamedTuple):
    """Cosines and sines of each entry along each axis, float32.

    Attributes:
        out_cos: (out, n) cos(2 pi u_k p / out).
        out_sin: (out, n) sin(2 pi u_k p / out).
        in_cos: (in, n) cos(2 pi v_k q / in).
        in_sin: (in, n) sin(2 pi v_k q / in).
    """

    out_cos: Array
    out_sin: Array
    in_cos: Array
    in_sin: Array


def tables(entries: Array, shape: Shape) -> Tables:
    """Returns the cosines and sines of (n, 2) entries, the phases reduced in integers first."""
    return Tables(*_table(entries[:, 0], shape[0]), *_table(entries[:, 1], shape[1]))


def _table(frequencies: Array, size: int) -> tuple[Array, Array]:
    """Returns cos and sin of 2 pi f p / size, (size, n)."""
    positions = np.arange(size, dtype=np.int64)
    phase = positions[:, None] * frequencies.astype(np.int64) % size  # (size, n)
    angles = positions * (2 * np.pi / size)  # (size,)
    return np.cos(angles).astype(np.float32)[phase], np.sin(angles).astype(np.float32)[phase]
