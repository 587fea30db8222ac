"""The registry's generators (table 3), written from its text in exact integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

_MASK: Final = 2**64 - 1


def word(seed: int, i: int) -> int:
    """Returns word i of SplitMix64."""
    z = (seed + (i + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def below(w: int, bound: int) -> int:
    """Returns a number below `bound`."""
    return (w * bound) >> 64


def uniform(total: int, count: int, seed: int) -> list[int]:
    """Returns what splitmix64-fisher-yates draws."""
    moved: dict[int, int] = {}
    for i in range(count):
        _exchange(moved, i, i + below(word(seed, i), total - i))
    return [moved.get(i, i) for i in range(count)]


def _exchange(moved: dict[int, int], i: int, j: int) -> None:
    moved[i], moved[j] = moved.get(j, j), moved.get(i, i)


def band_pass(
    shape: tuple[int, int], count: int, seed: int, centre: float, width: float
) -> list[int]:
    """Returns what splitmix64-rejection draws."""
    chosen: dict[int, None] = {}
    for j in range(2**26):
        flat = below(word(seed, 2 * j), shape[0] * shape[1])
        u, v = divmod(flat, shape[1])
        near = min(u, shape[0] - u), min(v, shape[1] - v)
        if word(seed, 2 * j + 1) >> 32 < threshold(*near, centre, width):
            chosen[flat] = None
            if len(chosen) == count:
                return list(chosen)
    raise ValueError("the band is too thin")


def threshold(u: int, v: int, centre: float, width: float) -> int:
    """Returns floor(p * 2^32) for the distances u' and v'; 0 where p is NaN."""
    p = _probability(float(u), float(v), centre, width)
    return 0 if math.isnan(p) else math.floor(p * 2.0**32)


def _probability(u: float, v: float, centre: float, width: float) -> float:
    squared = (u * u) + (v * v)
    if squared == 0:
        return 1.0 if centre == 0 else 0.0
    d = squared - (centre * centre)
    x = _quotient(d * d, squared * (width * width))
    if x > 40:
        return 0.0
    y, e = x / 1024, 1.0
    for k in range(10, 0, -1):
        e = 1 - ((y / k) * e)
    for _ in range(10):
        e = e * e
    return e


def _quotient(a: float, b: float) -> float:
    """Returns a / b for a, b >= 0 as IEEE 754 has it, where Python raises."""
    if b == 0:
        return math.inf if a > 0 else math.nan
    return a / b


def mt19937(seed: int) -> Iterator[int]:
    """Yields the 32-bit words of MT19937."""
    m = [seed % 2**32]
    for i in range(1, 624):
        m.append((1812433253 * (m[i - 1] ^ (m[i - 1] >> 30)) + i) % 2**32)
    while True:
        for k in range(624):
            y = (m[k] & 0x80000000) + (m[(k + 1) % 624] & 0x7FFFFFFF)
            m[k] = m[(k + 397) % 624] ^ (y >> 1) ^ (0x9908B0DF if y % 2 else 0)
        for k in range(624):
            y = m[k]
            y ^= y >> 11
            y ^= (y << 7) & 0x9D2C5680
            y ^= (y << 15) & 0xEFC60000
            yield y ^ (y >> 18)


def forward(total: int, count: int, seed: int) -> list[int]:
    """Returns what mt19937-fy32 draws."""
    words, moved = mt19937(seed), dict[int, int]()
    for i in range(min(count, total - 1)):
        _exchange(moved, i, i + next(words) % (total - i))
    return [moved.get(i, i) for i in range(count)]


def inside_out(total: int, count: int, seed: int) -> list[int]:
    """Returns what mt19937-io64 draws."""
    words, a = mt19937(seed), list[int]()
    for i in range(total):
        z = (next(words) * 2**32 + next(words)) % (i + 1)
        a.append(a[z] if z < i else i)
        a[z] = i
    return a[:count]
