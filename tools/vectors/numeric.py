"""Delta weights in float64, by the sums of clauses 3.1 and 3.2, phases reduced in integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from vectors.container import tensor, values_of
from vectors.formulas import cells, filters, part
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
    transform: str = "dft2"


def vectors() -> Iterator[Vector]:
    """Yields the numeric vectors."""
    for case in (*_edges(), *_sizes(), *_others(), *_wavelets()):
        yield Vector(
            id=case.id,
            kind="numeric",
            clause="3.1" if case.transform == "dft2" else "3.2",
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


def _others() -> Iterator[Case]:
    for transform in ("dct2", "dht2"):
        for shape, count, about in (
            ((1, 1), 1, "one cell"),
            ((1, 7), 5, "one row"),
            ((7, 1), 5, "one column"),
            ((2, 2), 4, "every entry of an even shape"),
            ((3, 5), 6, "odd"),
            ((5, 3), 6, "odd, transposed"),
            ((6, 6), 36, "every entry"),
            ((13, 11), 20, "prime"),
            ((12, 10), 20, "even, no powers of two"),
            ((9, 16), 20, "odd and even"),
            ((97, 101), 24, "larger primes"),
            ((8192, 3), 12, "u * p exceeds 2^24, the integers that float32 holds"),
        ):
            id_ = f"{transform}-{shape[0]}x{shape[1]}"
            yield Case(id_, about, shape, _entries(shape, count), transform=transform)
        entries = [(1, 2), (0, 5), (3, 0)]
        id_ = f"{transform}-bfloat16"
        yield Case(id_, "a negative scale, BF16", (4, 6), entries, "BF16", -0.5, False, transform)


def _wavelets() -> Iterator[Case]:
    """Every wavelet on a shape that most of their filters are longer than, and some on others."""
    for wavelet in filters():
        yield _wavelet(wavelet, (6, 5), 12, "an even and an odd axis")
    for wavelet, shape, count, about in (
        ("db1", (1, 1), 1, "one cell"),
        ("db1", (2, 2), 4, "every entry: the mixed bands take each other's filters"),
        ("db1", (1, 7), 5, "one row"),
        ("db1", (97, 101), 24, "larger primes"),
        ("db2", (1, 1), 1, "one cell"),
        ("db2", (4, 4), 16, "every entry"),
        ("db2", (7, 1), 5, "one column"),
        ("db3", (5, 3), 15, "every entry, odd"),
        ("db4", (12, 10), 20, "even"),
        ("db10", (64, 48), 24, "larger than the filter"),
        ("sym4", (13, 11), 20, "odd"),
        ("sym5", (16, 9), 20, "even and odd"),
        ("coif1", (9, 16), 20, "odd and even"),
        ("coif2", (1, 30), 12, "one row"),
        ("coif4-peft", (48, 31), 24, "larger than the filter"),
    ):
        yield _wavelet(wavelet, shape, count, about)


def _wavelet(wavelet: str, shape: tuple[int, int], count: int, about: str) -> Case:
    id_ = f"dwt2-{wavelet}-{shape[0]}x{shape[1]}"
    return Case(id_, about, shape, _entries(shape, count), transform=f"dwt2:{wavelet}")


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
    total = out * in_
    if total <= _ALL_UP_TO:
        places = [divmod(flat, in_) for flat in range(total)]
    else:
        places = [divmod(below(word(7, i), total), in_) for i in range(_SELECTED - 3)]
        places += [(0, 0), (out - 1, in_ - 1), (out // 2, min(1, in_ - 1))]
    array = tensor(case.dtype, (len(coefficients),), coefficients)
    return {
        "transform": case.transform,
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
    terms = (
        c * part(case.transform, entry, case.shape, p, q)
        for c, entry in zip(coefficients, case.entries, strict=True)
    )
    return case.alpha / cells(case.transform, case.shape) * math.fsum(terms)


def _norm(case: Case, coefficients: list[float]) -> float:
    """Returns the Frobenius norm by Parseval: two cosines meet only if equal or mirrored.

    What the entries of dct2 and of dht2 stand for is orthogonal; that of dwt2 is not at the edges.
    """
    out, in_ = case.shape
    if case.transform.startswith("dwt2:"):
        every = (divmod(flat, in_) for flat in range(out * in_))
        return math.sqrt(math.fsum(_delta(case, coefficients, p, q) ** 2 for p, q in every))
    if case.transform != "dft2":
        total = math.fsum(c * c for c in coefficients) / cells(case.transform, case.shape)
        return abs(case.alpha) * math.sqrt(total)
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
    every = (divmod(flat, in_) for flat in range(out * in_))
    return max(abs(_delta(case, coefficients, p, q)) for p, q in every)
