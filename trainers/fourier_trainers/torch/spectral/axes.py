"""One axis of a delta weight, applied: a linear map A from an axis of d positions to r rows.

delta = A_out^T M A_in (`fourier_format.spectral.axes`). So x delta^T = ((x A_in^T) M^T) A_out
needs no delta weight, and both directions of the gradient are of the same form. `forward` is x A^T;
`inverse` is z D A.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fourier_format.adapter import Array
from fourier_format.spectral import axes as spectral


class Axis(Protocol):
    """One axis."""

    @property
    def length(self) -> int:
        """The positions, d."""
        ...

    @property
    def rows(self) -> int:
        """The rows of A, r."""
        ...

    @property
    def multiplicity(self) -> Array:
        """The diagonal of D, (r,) float64."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """Returns x A^T, (t, d) -> (t, r)."""
        ...

    def inverse(self, z: Tensor) -> Tensor:
        """Returns z D A, (t, r) -> (t, d)."""
        ...

    def columns(self, rows: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns elements of A, (m, t), for rows (m,) and positions (t,)."""
        ...


class FourierAxis:
    """Cosines and sines, by the real FFT (`spectral.axes`)."""

    def __init__(self, axis: spectral.FourierAxis) -> None:
        """Takes what the axis is."""
        order = axis.order
        self.length: Final = axis.length
        self.rows: Final = axis.rows
        self.multiplicity: Final = axis.multiplicity
        self._half: Final = axis.frequencies
        self._order: Final = None if order is None else torch.from_numpy(order)
        self._places: Final = None if order is None else torch.from_numpy(np.argsort(order))

    def forward(self, x: Tensor) -> Tensor:
        """Returns x A^T, (t, d) -> (t, r)."""
        if self._order is not None:
            x = x[:, self._order.to(x.device)]
        return torch.view_as_real(torch.fft.rfft(x)).flatten(1)

    def inverse(self, z: Tensor) -> Tensor:
        """Returns z D A, (t, r) -> (t, d)."""
        half_spectrum = torch.view_as_complex(z.unflatten(1, (self._half, 2)))
        x: Tensor = torch.fft.irfft(half_spectrum, n=self.length, norm="forward")
        return x if self._places is None else x[:, self._places.to(x.device)]

    def columns(self, rows: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns elements of A, (m, t), the phase reduced in integers first."""
        if self._places is not None:
            positions = self._places.to(positions.device)[positions]
        phase = (rows // 2)[:, None] * positions[None, :] % self.length  # (m, t)
        steps = torch.arange(self.length, dtype=torch.float64, device=phase.device)
        angles = steps * (2 * torch.pi / self.length)
        waves = torch.stack([angles.cos(), -angles.sin()]).to(dtype)  # (2, d)
        return waves[(rows % 2)[:, None], phase]


class WaveletAxis:
    """One level of a wavelet's analysis (`spectral.axes`)."""

    def __init__(self, axis: spectral.WaveletAxis) -> None:
        """Takes what the axis is."""
        self.length: Final = axis.length
        self.rows: Final = axis.rows
        self.multiplicity: Final = axis.multiplicity
        self._filters: Final = torch.from_numpy(axis.filters)
        self._before: Final = axis.taps - 2
        self._after: Final = axis.taps - 2 + axis.length % 2

    def forward(self, x: Tensor) -> Tensor:
        """Returns x A^T, (t, d) -> (t, r)."""
        padded = functional.pad(x, (self._before, self._after))
        windows = padded.unfold(1, self._filters.shape[1], 2)  # (t, r / 2, L)
        pairs: Tensor = windows @ self._filters.to(x).T  # (t, r / 2, 2)
        return pairs.flatten(1)

    def inverse(self, z: Tensor) -> Tensor:
        """Returns z D A, (t, r) -> (t, d)."""
        pairs = z.unflatten(1, (-1, 2)).transpose(1, 2)  # (t, 2, r / 2)
        whole: Tensor = functional.conv_transpose1d(
            pairs, self._filters.to(z)[:, None, :], stride=2
        )
        return whole[:, 0, self._before : self._before + self.length]

    def columns(self, rows: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns elements of A, (m, t)."""
        filters = self._filters.to(rows.device, dtype)
        tap = positions[None, :] + self._before - 2 * (rows // 2)[:, None]  # (m, t)
        inside = (tap >= 0) & (tap < filters.shape[1])
        values = filters[(rows % 2)[:, None], tap.clamp(0, filters.shape[1] - 1)]
        return torch.where(inside, values, 0.0)


def applied(axis: spectral.Axis) -> Axis:
    """Returns how an axis is applied in torch."""
    if isinstance(axis, spectral.FourierAxis):
        return FourierAxis(axis)
    return WaveletAxis(axis)
