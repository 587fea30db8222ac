"""What one entry adds to one cell of a delta weight, by the formulas of clauses 3.1 and 3.2."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Final

_WAVELETS: Final = Path(__file__).resolve().parents[2] / "spec" / "wavelets-1.0.json"


def part(transform: str, entry: tuple[int, int], shape: tuple[int, int], p: int, q: int) -> float:
    """Returns the part of an entry whose coefficient is 1, at alpha = `cells(transform, shape)`."""
    (u, v), (out, in_) = entry, shape
    if transform == "dct2":
        return _of_dct2(u, p, out) * _of_dct2(v, q, in_)
    if transform.startswith("dwt2:"):
        low = filters()[transform.removeprefix("dwt2:")]
        (row_band, row), (column_band, column) = (
            _split(f, n, low) for f, n in ((u, out), (v, in_))
        )
        return _wavelet(low, column_band, row, p) * _wavelet(low, row_band, column, q)
    phase = u * p * in_ + v * q * out
    if transform == "dht2":
        return cosine(phase, out * in_) + cosine(4 * phase - out * in_, 4 * out * in_)
    return cosine(phase, out * in_)


def cells(transform: str, shape: tuple[int, int]) -> int:
    """Returns what the transform divides by."""
    return shape[0] * shape[1] if transform in {"dft2", "dht2"} else 1


@cache
def filters() -> dict[str, list[float]]:
    """Returns the registry's wavelets."""
    read: dict[str, list[float]] = json.loads(_WAVELETS.read_text("utf-8"))
    return read


def cosine(numerator: int, denominator: int) -> float:
    """Returns cos(2 pi numerator / denominator), exact at multiples of a quarter turn."""
    phase = numerator % denominator
    phase = min(phase, denominator - phase)  # 0 to half a turn
    if 4 * phase == denominator:
        return 0.0
    if 4 * phase > denominator:
        return -cosine(denominator - 2 * phase, 2 * denominator)
    return math.cos(2 * math.pi * phase / denominator)


@cache
def _of_dct2(f: int, x: int, size: int) -> float:
    return math.sqrt((2 if f else 1) / size) * cosine(f * (2 * x + 1), 4 * size)


def _split(f: int, size: int, low: list[float]) -> tuple[int, int]:
    """Returns band and index."""
    half = (size + size % 2 + len(low) - 2) // 2
    x = f + len(low) // 2 - 1
    return (0, x) if x < half else (1, x - half)


def _wavelet(low: list[float], band: int, index: int, y: int) -> float:
    tap = y + len(low) - 2 - 2 * index
    if not 0 <= tap < len(low):
        return 0.0
    return (-1) ** tap * low[len(low) - 1 - tap] if band else low[tap]
