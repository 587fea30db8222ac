"""One axis of a delta weight: a linear map A from an axis of d positions to r rows.

Every transform is delta = A_out^T M A_in with a sparse M that holds the coefficients (`routes`).
So x delta^T = ((x A_in^T) M^T) A_out needs no delta weight, and both directions of the gradient are
of the same form. `forward` is x A^T; `inverse` is z D A with a diagonal D, the `multiplicity`, that
the FFT library's own inverse has and that M can make up for.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fourier_format.adapter import Array


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
    """Row 2w of A is cos(2 pi w p / d), row 2w + 1 is -sin(2 pi w p / d), for w = 0 to d // 2.

    That is the real FFT with its real and imaginary parts side by side. `order` permutes the
    positions first, which turns the DFT into the DCT-II's (Makhoul, "A fast cosine transform in one
    and two dimensions", IEEE ASSP 28, 1980): row k of order p is position order[p].
    """

    def __init__(self, length: int, order: Array | None = None) -> None:
        """Takes d, and which position stands where."""
        half = length // 2 + 1
        self.length: Final = length
        self.rows: Final = 2 * half
        self._half: Final = half
        self._order: Final = None if order is None else torch.from_numpy(order)
        self._places: Final = None if order is None else torch.from_numpy(np.argsort(order))
        doubled = np.full(half, 2.0)
        doubled[0] = 1.0
        if length % 2 == 0:
            doubled[-1] = 1.0
        self.multiplicity: Array = np.repeat(doubled, 2)

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


def cosine_order(length: int) -> Array:
    """Returns the positions' order that makes a DFT a DCT-II: the even ones, then the odd back."""
    return np.concatenate([np.arange(0, length, 2), np.arange(1, length, 2)[::-1]])


class WaveletAxis:
    """Row 2i + b of A is w(b, i, y) = g_b[y + L - 2 - 2i], for b = 0, 1 (spec, clause 3.2).

    That is one level of a wavelet's analysis, low and high pass side by side.
    """

    def __init__(self, length: int, filters: Array) -> None:
        """Takes d, and g_0 and g_1, (2, L) float64."""
        taps = filters.shape[1]
        self.length: Final = length
        self.rows: Final = length + length % 2 + taps - 2
        self.multiplicity: Final = np.ones(self.rows)
        self._filters: Final = torch.from_numpy(filters)
        self._before: Final = taps - 2
        self._after: Final = taps - 2 + length % 2

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
