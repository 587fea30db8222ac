"""The transform "dht2": the two-dimensional Hartley transform, with cas t = cos t + sin t.

    delta[p, q] = alpha / (out * in) * sum_k c_k * cas(2 pi (u_k p / out + v_k q / in))

cas of the sum, not the product of two cas. Source: spec, clause 3.2; arXiv 2502.05539 (SSH);
R. N. Bracewell, "Discrete Hartley transform", J. Opt. Soc. Am. 73, 1983. Since cas t is the real
part of (1 - i) e^(i t), it is a sum of waves like "dft2".
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Array
from fourier_format.transforms.rows import Factors, Shape, Transform
from fourier_format.transforms.waves import WaveRows, norm_of, tables

_CAS: Final = 1 - 1j


def rows(
    entries: Array,
    coefficients: Array,
    shape: Shape,
    alpha: float,
    dtype: npt.DTypeLike = np.float32,
) -> WaveRows:
    """Returns the rows of the delta weight; arguments as of `dft2.rows`."""
    scaled = coefficients.astype(np.float64) * (alpha / (shape[0] * shape[1]))  # (n,)
    return WaveRows(entries, scaled * _CAS, shape, dtype)


def norms(entries: Array, coefficients: Array, shape: Shape) -> Array:
    """Returns the Frobenius norms of delta weights at alpha = 1, (L,), of (L, n) coefficients."""
    scaled = coefficients.astype(np.float64) / (shape[0] * shape[1]) * _CAS
    return np.array([norm_of(entries, row, shape) for row in scaled])


def factors(entries: Array, shape: Shape) -> Factors:
    """Returns the factors, by cas(a + b) = cos a cas b + sin a cas(-b); rank 2n at most."""
    made = tables(entries, shape)
    out = np.concatenate([made.out_cos, made.out_sin], axis=1)  # (out, 2n)
    in_ = np.concatenate([made.in_cos + made.in_sin, made.in_cos - made.in_sin], axis=1)
    return Factors(out, in_, (1, 1), shape[0] * shape[1])


TRANSFORM: Final = Transform(rows, norms, factors, terms=2)
