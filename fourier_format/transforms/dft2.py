"""The transform "dft2": delta = alpha * Re(IDFT2(S)), computed in float32 (or float64).

    delta[p, q] = alpha / (out * in) * sum_k c_k * cos(2 pi (u_k p / out + v_k q / in))

Source: spec, clause 3.1; arXiv 2405.03003, Eq. 3, with the 1/(out * in) of the paper's code and of
PEFT.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Array
from fourier_format.transforms.rows import Factors, Shape, Transform
from fourier_format.transforms.waves import WaveRows, norm_of, tables


def rows(
    entries: Array,
    coefficients: Array,
    shape: Shape,
    alpha: float,
    dtype: npt.DTypeLike = np.float32,
) -> WaveRows:
    """Returns the rows of the delta weight; its waves are c_k alpha / (out * in).

    Args:
        entries: (n, 2) integers, (u, v) with u < out and v < in.
        coefficients: (n,) float32, float16 or bfloat16.
        shape: (out, in).
        alpha: The scale.
        dtype: float32 or float64, of the arithmetic and of the result.
    """
    scaled = coefficients.astype(np.float64) * (alpha / (shape[0] * shape[1]))  # (n,)
    return WaveRows(entries, scaled, shape, dtype)


def norms(entries: Array, coefficients: Array, shape: Shape) -> Array:
    """Returns the Frobenius norms of delta weights at alpha = 1, (L,), of (L, n) coefficients."""
    scaled = coefficients.astype(np.float64) / (shape[0] * shape[1])
    return np.array([norm_of(entries, row, shape) for row in scaled])


def factors(entries: Array, shape: Shape) -> Factors:
    """Returns the factors, by cos(a + b) = cos a cos b - sin a sin b; rank 2n at most."""
    made = tables(entries, shape)
    out = np.concatenate([made.out_cos, made.out_sin], axis=1)  # (out, 2n)
    in_ = np.concatenate([made.in_cos, made.in_sin], axis=1)  # (in, 2n)
    return Factors(out, in_, (1, -1), shape[0] * shape[1])


TRANSFORM: Final = Transform(rows, norms, factors, terms=2)
