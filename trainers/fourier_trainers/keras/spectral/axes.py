"""One axis of a delta weight, applied by keras.ops (`fourier_format.spectral.axes`).

delta = A_out^T M A_in. `forward` is x A^T; `inverse` is z E A, where the diagonal E, `weights`, is
what the backend's inverse FFT multiplies each row by, and M makes up for it. Rows of A stand here
in another order, all cosines before all sines, so that neither has to be picked out: `place` says
where.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import keras
import numpy as np
from keras import ops

from fourier_format.adapter import Array
from fourier_format.spectral import axes as spectral

_SHORT: Final = 2**15
"""Lengths whose squares fit into 31 bits."""

LONGEST: Final = 2**31 // 511
"""Lengths for which phases can be computed (`_modular_product`)."""


class Axis(Protocol):
    """One axis of d positions, with r rows of A."""

    @property
    def rows(self) -> int:
        """The rows, r."""
        ...

    @property
    def weights(self) -> Array:
        """The diagonal of E, (r,) float64, in the order of `spectral.axes`."""
        ...

    def place(self, rows: Array) -> Array:
        """Returns where rows that `routes` names stand here, (m,) int64."""
        ...

    def forward(self, x: Any) -> Any:
        """Returns x A^T, (t, d) -> (t, r)."""
        ...

    def inverse(self, z: Any) -> Any:
        """Returns z E A, (t, r) -> (t, d)."""
        ...

    def columns(self, rows: Array, positions: Any, dtype: str) -> Any:
        """Returns elements of A, (t, m), for positions (t,) and rows (m,) that `routes` names."""
        ...


class FourierAxis:
    """Cosines and sines, by the real FFT."""

    def __init__(self, axis: spectral.FourierAxis) -> None:
        """Takes what the axis is."""
        self.rows: Final = axis.rows
        self.weights: Final = axis.multiplicity / axis.length
        self._length: Final = axis.length
        self._half: Final = axis.frequencies
        order = axis.order
        self._order: Final = order
        self._places: Final = None if order is None else np.argsort(order)

    def place(self, rows: Array) -> Array:
        """Returns where rows stand: cosines first, then sines."""
        places: Array = rows // 2 + self._half * (rows % 2)
        return places

    def forward(self, x: Any) -> Any:
        """Returns x A^T, (t, d) -> (t, r)."""
        if self._order is not None:
            x = ops.take(x, self._order, axis=1)
        return ops.concatenate(ops.rfft(x), axis=1)  # 2 x (t, r / 2) -> (t, r)

    def inverse(self, z: Any) -> Any:
        """Returns z E A, (t, r) -> (t, d)."""
        x = ops.irfft(tuple(ops.split(z, 2, axis=1)), fft_length=self._length)
        return x if self._places is None else ops.take(x, self._places, axis=1)

    def columns(self, rows: Array, positions: Any, dtype: str) -> Any:
        """Returns elements of A, (t, m), the phase reduced in integers first."""
        steps = np.arange(self._length) * (2 * np.pi / self._length)
        waves = np.concatenate([np.cos(steps), -np.sin(steps)])  # (2 d,)
        if self._places is not None:
            positions = ops.take(self._places, positions)
        phase = _modular_product(positions, rows // 2, self._length)  # (t, m)
        return ops.take(waves.astype(dtype), phase + _integers(self._length * (rows % 2)))


class WaveletAxis:
    """One level of a wavelet's analysis: each window of L positions, two apart, by two filters."""

    def __init__(self, axis: spectral.WaveletAxis) -> None:
        """Takes what the axis is."""
        self.rows: Final = axis.rows
        self.weights: Final = axis.multiplicity
        self._length: Final = axis.length
        self._filters: Final = axis.filters
        self._before: Final = axis.taps - 2

    def place(self, rows: Array) -> Array:
        """Returns the rows themselves."""
        return rows

    def forward(self, x: Any) -> Any:
        """Returns x A^T, (t, d) -> (t, r)."""
        pairs = self.rows // 2
        steps = self._filters.shape[1] // 2
        padded = ops.pad(x, ((0, 0), (self._before, self.rows - self._length)))
        padded = ops.reshape(padded, (-1, pairs + steps - 1, 2))
        windows = [padded[:, k : k + pairs] for k in range(steps)]
        taps = ops.cast(self._filters.T, x.dtype)  # (L, 2)
        return ops.reshape(matmul(ops.concatenate(windows, axis=2), taps), (-1, self.rows))

    def inverse(self, z: Any) -> Any:
        """Returns z E A, (t, r) -> (t, d): overlapping windows, added up."""
        pairs, steps = self.rows // 2, self._filters.shape[1] // 2
        z = ops.reshape(z, (-1, pairs, 2))
        windows = matmul(z, ops.cast(self._filters, z.dtype))  # (t, r / 2, L)
        total = 0.0
        for k in range(steps):
            window = windows[:, :, 2 * k : 2 * k + 2]
            total += ops.pad(window, ((0, 0), (k, steps - 1 - k), (0, 0)))
        flat = ops.reshape(total, (-1, 2 * (pairs + steps - 1)))
        return flat[:, self._before : self._before + self._length]

    def columns(self, rows: Array, positions: Any, dtype: str) -> Any:
        """Returns elements of A, (t, m)."""
        taps = self._filters.shape[1]
        padded = np.zeros((2, taps + 2))
        padded[:, 1:-1] = self._filters
        tap = positions[:, None] + _integers(self._before - 2 * (rows // 2))  # (t, m)
        tap = ops.clip(tap, -1, taps) + 1
        place = tap + _integers((taps + 2) * (rows % 2))
        return ops.take(padded.ravel().astype(dtype), place)


def applied(axis: spectral.Axis) -> Axis:
    """Returns how an axis is applied in Keras."""
    if isinstance(axis, spectral.FourierAxis):
        return FourierAxis(axis)
    return WaveletAxis(axis)


def matmul(a: Any, b: Any) -> Any:
    """Returns a b, (..., i, j) by (j, k) -> (..., i, k).

    On torch, Keras's own rounds float64 to float32.
    """
    if keras.backend.standardize_dtype(a.dtype) == "float64":
        return ops.einsum("...ij,jk->...ik", a, b)
    return ops.matmul(a, b)


def _modular_product(positions: Any, frequencies: Array, length: int) -> Any:
    """Returns positions (t,) times frequencies (m,) modulo `length`, (t, m) int32.

    Backends hold integers of 32 bits by default, so a long product is taken digit by digit: no
    number exceeds 511 times the length, which allows for four million positions.
    """
    positions = ops.cast(positions, "int32")[:, None]
    if length <= _SHORT:
        return (positions * _integers(frequencies)) % length
    product = positions * 0
    for shift in (16, 8, 0):
        product = (product * 256 + positions * _integers((frequencies >> shift) & 255)) % length
    return product


def _integers(values: Array) -> Any:
    """Returns a tensor: torch's do not mix with NumPy's arrays."""
    return ops.convert_to_tensor(values.astype(np.int32))
