"""The transform "dft2": delta = alpha * Re(IDFT2(S)), computed in float32 (or float64).

    delta[p, q] = alpha / (out * in) * sum_k c_k * cos(2 pi (u_k p / out + v_k q / in))

Source: spec, clause 3.1; arXiv 2405.03003, Eq. 3, with the 1/(out * in) of the paper's code and of
PEFT. The real part of an inverse DFT is the inverse of the spectrum's Hermitian half, so the
spectrum is folded to in // 2 + 1 columns, and the transform along the output axis runs only over
columns that hold an entry: 6 times faster than the complex transform at 4096
(benchmarks/delta_weight.py).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Adapter, Array, Target
from fourier_format.threads import by_blocks

_BLOCK: Final = 32
"""Output rows at a time: the half spectrum of so many, and the rows, stay in the cache."""

_PARALLEL_SIZE: Final = 2**19
"""Cells from which threads repay their start."""


class Rows:
    """A delta weight of which rows are computed when they are asked for, by any thread.

    Attributes:
        shape: (out, in).
        norm: The Frobenius norm, known without computing a row.
    """

    def __init__(
        self,
        entries: Array,
        coefficients: Array,
        shape: tuple[int, int],
        alpha: float,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        """Takes what `delta_weight` takes; the transform along the output axis is done here."""
        from scipy import fft  # here, so that a command line can speak before SciPy is loaded

        out, in_ = shape
        scaled = coefficients.astype(np.float64) * (alpha / (out * in_))  # (n,)
        columns, cells, values = _folded(entries, scaled, shape)  # (m,), (k,), (k,)
        spectrum = np.zeros((columns.size, out), np.result_type(dtype, np.complex64))
        spectrum.reshape(-1)[cells] = values
        self.shape: Final = shape
        self.norm: Final = _norm(columns[cells // out], values, shape)
        self._columns = columns
        self._irfft = fft.irfft
        self._spectrum = fft.ifft(
            spectrum, axis=1, norm="forward", overwrite_x=True, workers=_workers(shape)
        )

    def __call__(self, start: int, stop: int) -> Array:
        """Returns the rows from `start` to before `stop`, (b, in)."""
        in_ = self.shape[1]
        half = np.zeros((stop - start, in_ // 2 + 1), self._spectrum.dtype)
        half[:, self._columns] = self._spectrum[:, start:stop].T  # (m, b) -> (b, in // 2 + 1)
        rows: Array = self._irfft(half, n=in_, axis=1, norm="forward", workers=1)
        return rows


def rows_of(
    adapter: Adapter, target: Target, dtype: npt.DTypeLike = np.float32, *, turned: bool = False
) -> Rows:
    """Returns the rows of a target's delta weight, or of its transpose (`turned`).

    In the transpose u and v change places.
    """
    entry_set = adapter.entry_set(target)
    shape, entries = entry_set.shape, entry_set.entries
    if turned:
        shape, entries = (shape[1], shape[0]), entries[:, ::-1]
    coefficients = entry_set.coefficients[target.row]  # (n,)
    return Rows(entries, coefficients, shape, adapter.alpha_of(target), dtype)


def delta_weight(
    entries: Array,
    coefficients: Array,
    shape: tuple[int, int],
    alpha: float,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Returns the delta weight, (out, in).

    Args:
        entries: (n, 2) integers, (u, v) with u < out and v < in.
        coefficients: (n,) float32, float16 or bfloat16.
        shape: (out, in).
        alpha: The scale.
        dtype: float32 or float64, of the arithmetic and of the result.
    """
    rows = Rows(entries, coefficients, shape, alpha, dtype)
    delta = np.empty(shape, dtype)

    def fill(start: int, stop: int) -> None:
        delta[start:stop] = rows(start, stop)

    by_blocks(fill, shape[0], _BLOCK, parallel=_workers(shape) != 1)
    return delta  # (out, in)


def _workers(shape: tuple[int, int]) -> int:
    return -1 if shape[0] * shape[1] >= _PARALLEL_SIZE else 1


def _folded(entries: Array, values: Array, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Returns the float64 half spectrum: its non-empty columns (m,), and what is in their cells.

    Each entry stands at (u, v) and at its mirror (-u, -v) with half its value; of the two, the
    ones in columns 0 to in // 2 are kept. In columns 0 and in / 2 both are.

    Returns:
        The columns; flat positions (k,) in the transposed (m, out) array of these columns; and the
        values there (k,).
    """
    out, in_ = shape
    u, v = entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64)
    rows = np.concatenate([u, -u % out])  # (2n,)
    cols = np.concatenate([v, -v % in_])
    halves = np.concatenate([values, values]) / 2
    kept = cols <= in_ // 2
    columns, inverse = np.unique(cols[kept], return_inverse=True)  # (m,)
    cells, place = np.unique(inverse * out + rows[kept], return_inverse=True)
    return columns, cells, np.bincount(place, halves[kept], minlength=cells.size)


def _norm(columns: Array, values: Array, shape: tuple[int, int]) -> float:
    """Returns the norm by Parseval: of columns other than 0 and in / 2 the mirrors count too."""
    mirrored = (columns > 0) & (2 * columns != shape[1])
    total = float((values**2 * (1 + mirrored)).sum())
    return math.sqrt(shape[0] * shape[1] * total)


class Factors(NamedTuple):
    """The real factors of a delta weight (see `factors`).

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


def factors(entries: Array, shape: tuple[int, int]) -> Factors:
    """Returns float32 factors of every delta weight with these entries.

    With c scaled by alpha / (out * in):

        delta = out_cos @ diag(c) @ in_cos.T - out_sin @ diag(c) @ in_sin.T

    by cos(a + b) = cos a cos b - sin a sin b; rank 2n at most.

    Args:
        entries: (n, 2) integers, (u, v).
        shape: (out, in).
    """
    out_cos, out_sin = _waves(entries[:, 0], shape[0])
    in_cos, in_sin = _waves(entries[:, 1], shape[1])
    return Factors(out_cos, out_sin, in_cos, in_sin)


def _waves(frequencies: Array, size: int) -> tuple[Array, Array]:
    """Returns cos and sin of 2 pi f p / size, (size, n), the phase reduced in integers first."""
    positions = np.arange(size, dtype=np.int64)
    phase = positions[:, None] * frequencies.astype(np.int64) % size  # (size, n)
    angles = positions * (2 * np.pi / size)  # (size,)
    return np.cos(angles).astype(np.float32)[phase], np.sin(angles).astype(np.float32)[phase]
