"""The sparse matrix M of each transform: which row of A_out meets which row of A_in, and how.

delta = norm * A_out^T M A_in (see `axes`). An entry (u, v) with coefficient c puts c times a weight
in a few cells of M, its routes. Sources: spec, clause 3; the sum formulas of cosine and sine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from fourier_format.adapter import TRANSFORMS, Array
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.spectral.axes import Axis, FourierAxis, WaveletAxis
from fourier_format.transforms import dwt2


class Part(NamedTuple):
    """One function of an axis for each entry, as a weighted row of A.

    Attributes:
        rows: (n,) int64.
        weights: (n,) float64.
    """

    rows: Array
    weights: Array


class Routes(NamedTuple):
    """The cells of M, term by term: s terms of n entries each.

    Attributes:
        out_axis: A_out.
        in_axis: A_in.
        norm: What every delta weight is multiplied by, beside alpha.
        out_rows: (s, n) int64, rows of A_out.
        in_rows: (s, n) int64, rows of A_in.
        weights: (s, n) float64.
    """

    out_axis: Axis
    in_axis: Axis
    norm: float
    out_rows: Array
    in_rows: Array
    weights: Array


def routes(transform: str, shape: tuple[int, int], entries: Array) -> Routes:
    """Returns the routes of `entries` (n, 2) under `transform` for delta weights of `shape`.

    Raises:
        UnsupportedError: The transform is not registered.
    """
    if transform not in TRANSFORMS:
        problem = "the registry has no transform of this name"
        expected = f"one of {', '.join(TRANSFORMS)}"
        raise UnsupportedError(
            Violation("E-TRANSFORM-UNKNOWN", "transform", problem, transform, expected)
        )
    family, _, variant = transform.partition(":")
    return _TRANSFORMS[family](
        shape, entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64), variant
    )


def _dft2(shape: tuple[int, int], u: Array, v: Array, _: str) -> Routes:
    """cos(a + b) = cos a cos b - sin a sin b."""
    (cos_u, sin_u), (cos_v, sin_v) = _waves(u, shape[0]), _waves(v, shape[1])
    terms = [(cos_u, cos_v), (_negated(sin_u), sin_v)]
    return _joined(FourierAxis(shape[0]), FourierAxis(shape[1]), 1 / (shape[0] * shape[1]), terms)


def _dht2(shape: tuple[int, int], u: Array, v: Array, _: str) -> Routes:
    """cas(a + b) = cos a cos b - sin a sin b + sin a cos b + cos a sin b."""
    (cos_u, sin_u), (cos_v, sin_v) = _waves(u, shape[0]), _waves(v, shape[1])
    terms = [(cos_u, cos_v), (_negated(sin_u), sin_v), (sin_u, cos_v), (cos_u, sin_v)]
    return _joined(FourierAxis(shape[0]), FourierAxis(shape[1]), 1 / (shape[0] * shape[1]), terms)


def _dct2(shape: tuple[int, int], u: Array, v: Array, _: str) -> Routes:
    """A DCT-II's row is a DFT's row of permuted positions, turned by a quarter of a step."""
    axes = [FourierAxis(length, cosine=True) for length in shape]
    parts_u, parts_v = _cosines(u, shape[0]), _cosines(v, shape[1])
    terms = [(part_u, part_v) for part_u in parts_u for part_v in parts_v]
    return _joined(axes[0], axes[1], 1.0, terms)


def _dwt2(shape: tuple[int, int], u: Array, v: Array, wavelet: str) -> Routes:
    """The filter along an axis is chosen by the other axis's band (spec, clause 3.2)."""
    filters = dwt2.filters(wavelet)
    (out_band, out_index), (in_band, in_index) = (
        dwt2.split(places, length, filters.shape[1])
        for places, length in zip((u, v), shape, strict=True)
    )
    ones = np.ones(u.shape)
    terms = [(Part(2 * out_index + in_band, ones), Part(2 * in_index + out_band, ones))]
    return _joined(WaveletAxis(shape[0], filters), WaveletAxis(shape[1], filters), 1.0, terms)


def _waves(frequencies: Array, length: int) -> tuple[Part, Part]:
    """Returns cos and sin of 2 pi f p / length: frequencies above length / 2 are mirrored."""
    folded = np.minimum(frequencies, length - frequencies)
    sign = -_side(frequencies, length)  # the rows of A hold -sin
    return Part(2 * folded, np.ones(folded.shape)), Part(2 * folded + 1, sign)


def _cosines(frequencies: Array, length: int) -> tuple[Part, Part]:
    """Returns the two parts of s_u cos(pi (2p + 1) u / (2 length)), orthonormal.

    With V the DFT of the permuted x, sum_p x_p cos(...) = Re(exp(-i pi u / (2 length)) V_u).
    """
    folded = np.minimum(frequencies, length - frequencies)
    scale = np.sqrt(np.where(frequencies == 0, 1.0, 2.0) / length)
    turn = np.pi * frequencies / (2 * length)
    real = Part(2 * folded, scale * np.cos(turn))
    return real, Part(2 * folded + 1, scale * np.sin(turn) * _side(frequencies, length))


def _side(frequencies: Array, length: int) -> Array:
    """Returns 1 below length / 2, -1 above, and 0 where the sine is 0 at every position.

    There an inverse FFT is free to make anything of an imaginary part.
    """
    side: Array = np.sign(length - 2 * frequencies) * np.where(frequencies == 0, 0.0, 1.0)
    return side


def _negated(part: Part) -> Part:
    return Part(part.rows, -part.weights)


def _joined(
    out_axis: Axis, in_axis: Axis, norm: float, terms: Sequence[tuple[Part, Part]]
) -> Routes:
    return Routes(
        out_axis,
        in_axis,
        norm,
        np.stack([out_part.rows for out_part, _ in terms]),  # (s, n)
        np.stack([in_part.rows for _, in_part in terms]),
        np.stack([out_part.weights * in_part.weights for out_part, in_part in terms]),
    )


_Build = Callable[[tuple[int, int], Array, Array, str], Routes]

_TRANSFORMS: Final[dict[str, _Build]] = {"dft2": _dft2, "dht2": _dht2, "dct2": _dct2, "dwt2": _dwt2}
"""Family -> its routes; what follows a colon in the name is handed on."""
