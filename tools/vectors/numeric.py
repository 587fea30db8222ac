"""Delta weights in float64, by the sum of clause 3.1 with the phase reduced in integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from vectors.container import tensor, values_of
from vectors.generators import below, word
from vectors.model import Vector, pretty

Entries = list[tuple[int, int]]

_ALL_UP_TO: Final = 48
"""Cells up to which every value of the delta weight is in the vector."""

_SELECTED: Final = 24
TOLERANCE: Final = 1e-6


class Case(NamedTuple):
    """One delta weight."""

    id: str
    about: str
    shape: tuple[int, int]
    entries: Entries
    dtype: str = "F32"
    alpha: float = 150.0
    positive: bool = False


def vectors() -> Iterator[Vector]:
    """Yields the numeric vectors."""
    for case in (*_edges(), *_sizes()):
        yield Vector(
            id=case.id,
            kind="numeric",
            clause="3.1",
            about=case.about,
            files={".json": pretty(_content(case))},
        )


def _edges() -> Iterator[Case]:
    yield Case("1x1", "one cell", (1, 1), [(0, 0)])
    yield Case("1x7", "one row", (1, 7), [(0, 0), (0, 3), (0, 6)])
    yield Case("7x1", "one column", (7, 1), [(0, 0), (3, 0), (6, 0)])
    yield Case("2x2", "every entry of an even shape", (2, 2), [(0, 0), (0, 1), (1, 0), (1, 1)])
    yield Case("constant", "the entry (0, 0) gives a constant", (3, 4), [(0, 0)])
    yield Case("column-zero", "column 0, with a mirrored pair", (6, 5), [(1, 0), (5, 0), (3, 0)])
    entries = [(0, 4), (2, 4), (4, 4), (3, 4)]
    yield Case("column-half", "column in / 2, with a mirrored pair", (6, 8), entries)
    yield Case("row-half", "row out / 2", (6, 5), [(3, 1), (3, 4), (3, 2)])
    yield Case("mirrored", "mirrored pairs count twice", (5, 7), [(1, 2), (4, 5), (0, 3), (0, 4)])
    yield Case("upper-half", "entries in the upper half alone", (5, 8), [(1, 5), (4, 6), (2, 7)])
    yield Case("alpha-negative", "a negative scale", (4, 6), [(1, 2), (3, 5)], alpha=-0.5)
    yield Case("alpha-zero", "a scale of zero", (4, 6), [(1, 2), (3, 5)], alpha=0.0)
    entries = [(1, 2), (0, 5), (3, 0)]
    yield Case("float16", "coefficients in F16", (4, 6), entries, dtype="F16")
    yield Case("bfloat16", "coefficients in BF16", (4, 6), entries, dtype="BF16")


def _sizes() -> Iterator[Case]:
    for shape, count, about in (
        ((3, 5), 6, "odd"),
        ((5, 3), 6, "odd, transposed"),
        ((13, 11), 20, "prime"),
        ((16, 8), 20, "powers of two"),
        ((12, 10), 20, "even, no powers of two"),
        ((9, 16), 20, "odd and even"),
        ((97, 101), 24, "larger primes"),
        ((384, 1536), 24, "a feed-forward layer of MiniLM"),
        ((2048, 2048), 24, "a power of two whose u * p exceeds int16"),
        ((8192, 64), 24, "u * p exceeds 2^24, the integers that float32 holds"),
    ):
        entries = _entries(shape, count)
        large = shape[0] * shape[1] > 2**14
        yield Case(f"{shape[0]}x{shape[1]}", about, shape, entries, positive=large)
    largest = (2**31 - 1, 3)
    about = "the largest width: u * p exceeds 2^53, the integers that float64 holds"
    yield Case("2147483647x3", about, largest, _entries(largest, 24), positive=True)
    entries = [(2047, 2047), (2047, 1), (1, 2047), (1024, 1023), (1023, 1024), (0, 1024)]
    about = "the highest frequencies: the largest phases"
    yield Case("2048x2048-high", about, (2048, 2048), entries, positive=True)


def _entries(shape: tuple[int, int], count: int) -> Entries:
    """Returns distinct entries: corners of the spectrum, and others at random."""
    out, in_ = shape
    chosen = dict.fromkeys([(0, 0), (out - 1, in_ - 1), (out // 2, in_ // 2), (0, in_ // 2)])
    i = 0
    while len(chosen) < count:
        chosen[divmod(below(word(out * in_, i), out * in_), in_)] = None
        i += 1
    return list(chosen)[:count]


def _coefficients(case: Case) -> list[float]:
    """Returns multiples of 1/64 between -2 and 2, exact in every dtype of coefficients."""
    values = [(below(word(64, i), 257) - 128) / 64 for i in range(len(case.entries))]
    if case.dtype == "BF16":
        values = [round(value * 32) / 32 for value in values]
    return [abs(value) for value in values] if case.positive else values


def _content(case: Case) -> dict[str, object]:
    (out, in_), coefficients = case.shape, _coefficients(case)
    cells = out * in_
    if cells <= _ALL_UP_TO:
        places = [divmod(flat, in_) for flat in range(cells)]
    else:
        places = [divmod(below(word(7, i), cells), in_) for i in range(_SELECTED - 3)]
        places += [(0, 0), (out - 1, in_ - 1), (out // 2, 1)]
    array = tensor(case.dtype, (len(coefficients),), coefficients)
    return {
        "shape": list(case.shape),
        "alpha": case.alpha,
        "entries": case.entries,
        "coefficients": {"dtype": case.dtype, "values": values_of(array)},
        "delta": [[p, q, _delta(case, coefficients, p, q)] for p, q in places],
        "norm": _norm(case, coefficients),
        "largest": _largest(case, coefficients),
        "tolerance": TOLERANCE,
    }


def _delta(case: Case, coefficients: list[float], p: int, q: int) -> float:
    out, in_ = case.shape
    terms = (
        c * _cosine(u * p * in_ + v * q * out, out * in_)
        for c, (u, v) in zip(coefficients, case.entries, strict=True)
    )
    return case.alpha / (out * in_) * math.fsum(terms)


def _cosine(numerator: int, denominator: int) -> float:
    """Returns cos(2 pi numerator / denominator), exact at multiples of a quarter turn."""
    phase = numerator % denominator
    phase = min(phase, denominator - phase)  # 0 to half a turn
    if 4 * phase == denominator:
        return 0.0
    if 4 * phase > denominator:
        return -_cosine(denominator - 2 * phase, 2 * denominator)
    return math.cos(2 * math.pi * phase / denominator)


def _norm(case: Case, coefficients: list[float]) -> float:
    """Returns the Frobenius norm by Parseval: two cosines meet only if equal or mirrored."""
    out, in_ = case.shape
    by_entry = dict(zip(case.entries, coefficients, strict=True))
    terms = []
    for (u, v), c in by_entry.items():
        terms += [c * c, c * by_entry.get((-u % out, -v % in_), 0.0)]
    return abs(case.alpha) * math.sqrt(math.fsum(terms) / (2 * out * in_))


def _largest(case: Case, coefficients: list[float]) -> float:
    """Returns the largest absolute value of the delta weight, that the tolerance refers to."""
    out, in_ = case.shape
    if case.positive:  # then it stands at (0, 0), where every cosine is 1
        return abs(_delta(case, coefficients, 0, 0))
    cells = (divmod(flat, in_) for flat in range(out * in_))
    return max(abs(_delta(case, coefficients, p, q)) for p, q in cells)
