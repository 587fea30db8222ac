"""Delta weights in float64 straight from the formulas of the specification (clauses 3.1, 3.2).

Written from the text and not from the package: every entry is a product of a column and a row, or
two of them, summed at the wanted rows. The wavelets come from the specification's file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from fourier_format.adapter import Array

Shape = tuple[int, int]

WAVELETS: Final[dict[str, list[float]]] = json.loads(
    (Path(__file__).parents[3] / "spec" / "wavelets-1.0.json").read_text("utf-8")
)
TRANSFORMS: Final = ("dft2", "dct2", "dht2", *(f"dwt2:{wavelet}" for wavelet in WAVELETS))


def delta_rows(
    transform: str, entries: Array, coefficients: Array, shape: Shape, alpha: float, rows: Array
) -> Array:
    """Returns the given rows of the delta weight, (b, in) float64."""
    u, v = entries.astype(np.int64).T
    c = coefficients.astype(np.float64) * alpha
    p, q = rows.astype(np.int64), np.arange(shape[1], dtype=np.int64)
    if transform == "dct2":
        delta = (_cosine(u, p, shape[0]) * c) @ _cosine(v, q, shape[1]).T
    elif transform.startswith("dwt2:"):
        low = np.array(WAVELETS[transform.removeprefix("dwt2:")])
        out_band, out_index = _split(u, shape[0], low.size)
        in_band, in_index = _split(v, shape[1], low.size)
        out = _wavelet(low, in_band, out_index, p)
        delta = (out * c) @ _wavelet(low, out_band, in_index, q).T
    else:
        a, b = _angle(u, p, shape[0]), _angle(v, q, shape[1])
        delta = (np.cos(a) * c) @ np.cos(b).T - (np.sin(a) * c) @ np.sin(b).T
        if transform == "dht2":
            delta += (np.sin(a) * c) @ np.cos(b).T + (np.cos(a) * c) @ np.sin(b).T
        delta /= shape[0] * shape[1]
    return np.asarray(delta)


def delta_weight(
    transform: str, entries: Array, coefficients: Array, shape: Shape, alpha: float
) -> Array:
    """Returns the whole delta weight, (out, in) float64."""
    return delta_rows(transform, entries, coefficients, shape, alpha, np.arange(shape[0]))


def _angle(f: Array, x: Array, size: int) -> Array:
    return np.asarray(2 * np.pi * (f * x[:, None] % size) / size)


def _cosine(f: Array, x: Array, size: int) -> Array:
    phase = f * (2 * x[:, None] + 1) % (4 * size)
    return np.asarray(np.sqrt(np.where(f == 0, 1, 2) / size) * np.cos(np.pi * phase / (2 * size)))


def _split(f: Array, size: int, length: int) -> tuple[Array, Array]:
    half = (size + size % 2 + length - 2) // 2
    x = f + length // 2 - 1
    return np.where(x < half, 0, 1), np.where(x < half, x, x - half)


def _wavelet(low: Array, band: Array, index: Array, y: Array) -> Array:
    length = low.size
    high = np.array([(-1) ** t * low[length - 1 - t] for t in range(length)])
    tap = y[:, None] + length - 2 - 2 * index
    inside = (tap >= 0) & (tap < length)
    return np.asarray(np.where(inside, np.stack([low, high])[band, tap % length], 0.0))
