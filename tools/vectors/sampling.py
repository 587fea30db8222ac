"""What each generator draws, from its text in the registry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from vectors import generators
from vectors.generators import below, word
from vectors.model import Vector, pretty

_FY: Final = ("uniform", "splitmix64-fisher-yates")
_REJECTION: Final = ("band-pass", "splitmix64-rejection")
_TORCH: Final = ("torch-randperm", "mt19937-fy32")
_TORCH_64: Final = ("torch-randperm", "mt19937-io64")
_LARGEST_SEED: Final = 2**64 - 1


Place = tuple[int, int, float, float]
"""u', v', centre, width."""

_EDGES: Final[tuple[Place, ...]] = (
    (0, 0, 0.0, 8.0),
    (0, 0, 0.0, 1e200),
    (0, 0, 5.0, 8.0),
    (0, 0, 5.0, 1e200),
    (0, 0, 1e-200, 8.0),
    (0, 0, 1e200, 8.0),
    (3, 4, 5.0, 0.125),
    (3, 4, 5.0, 1e-200),
    (3, 4, 6.0, 1e-200),
    (3, 4, 0.0, 1e-200),
    (3, 4, 0.0, 1e200),
    (3, 4, 1e70, 1e200),
    (3, 4, 1e80, 1e200),
    (3, 4, 1e100, 1e100),
    (3, 4, 1e200, 8.0),
    (3, 4, 1e200, 1e200),
    (3, 4, 6.0, 5e-324),
    (1, 0, 0.0, 1.0),
    (0, 1, 0.0, 1.0),
    (1, 0, 0.0, 0.5),
    (1, 0, 0.0, 0.25),
    (1, 0, 0.0, 0.2124),
    (1, 0, 0.0, 0.2123),
    (1, 0, 0.0, 0.1582),
    (1, 0, 0.0, 0.1581),
    (1, 0, 0.0, 0.158),
    (1, 0, 0.0, 0.01),
    (1, 0, 0.0, 0.001),
    (1, 0, 0.0, 1000.0),
    (1, 0, 0.0, 50000.0),
    (1, 0, 0.0, 100000.0),
    (1, 0, 0.0, 1e8),
    (2**30 - 1, 2**30 - 1, 0.0, 1e9),
    (2**30 - 1, 2**30 - 1, 1518500247.5, 0.5),
    (384, 384, 100.0, 200.0),
    (60, 80, 100.0, 200.0),
    (100, 1, 100.0, 200.0),
)
_ROUNDING: Final[tuple[Place, ...]] = (
    (698, 712, 1006.975, 168.75),
    (1606, 605, 1787.85, 194.125),
    (1110, 1673, 1801.75, 496.9375),
    (881, 124, 904.35, 159.5625),
)
"""Found by search: floor(exp(-x) * 2^32) is 1 more or less than the threshold."""


class Case(NamedTuple):
    """One draw."""

    id: str
    about: str
    recipe: tuple[str, str]
    shape: tuple[int, int]
    n: int
    seed: int
    parameters: dict[str, float] | None = None


def vectors() -> Iterator[Vector]:
    """Yields the sampling vectors: draws, and then the thresholds of the band-pass method."""
    for case in (*_uniform(), *_band(), *_torch()):
        method, generator = case.recipe
        content: dict[str, object] = {
            "method": method,
            "generator": generator,
            "shape": case.shape,
            "count": case.n,
            "seed": str(case.seed),
            "parameters": case.parameters or {},
            "entries": [divmod(flat, case.shape[1]) for flat in _draw(case)],
        }
        yield Vector(
            id=case.id,
            kind="sampling",
            clause="7",
            about=case.about,
            files={".json": pretty(content)},
        )
    for id_, about, places in (
        ("edges", "at frequency zero, at p of 0 and 1, and where float64 overflows", _EDGES),
        ("rounding", "that another order of rounding, or exp, misses by 1", (*_ROUNDING, *_far())),
    ):
        rows = [[*place, generators.threshold(*place)] for place in places]
        method, generator = _REJECTION
        thresholds = {"method": method, "generator": generator, "thresholds": rows}
        yield Vector(
            id=f"band-pass-thresholds-{id_}",
            kind="sampling",
            clause="7",
            about=f"thresholds {about}",
            files={".json": pretty(thresholds)},
        )


def _uniform() -> Iterator[Case]:
    yield Case("uniform-all", "every entry", _FY, (4, 5), 20, 0)
    yield Case("uniform-one", "one cell", _FY, (1, 1), 1, 1)
    yield Case("uniform-768", "a usual shape", _FY, (768, 768), 40, 2024)
    yield Case("uniform-seed-2-64", "the largest seed", _FY, (11, 13), 20, _LARGEST_SEED)
    largest = (2**31 - 1, 2**31 - 1)
    yield from _around_2_32("uniform", _FY)
    yield Case("uniform-largest", "the largest shape", _FY, largest, 20, 9007199254740993)


def _band() -> Iterator[Case]:
    for id_, about, shape, count, seed, centre, width in (
        ("low", "low frequencies", (64, 48), 30, 0, 0.0, 8.0),
        ("middle", "a band around 100", (768, 768), 40, 2024, 100.0, 200.0),
        ("narrow", "a narrow ring", (96, 64), 30, 7, 20.0, 0.5),
        ("seed-2-64", "the largest seed", (33, 17), 30, _LARGEST_SEED, 5.5, 3.25),
        ("row", "one row", (1, 50), 10, 3, 4.0, 2.0),
        ("wide", "a width that overflows: all are accepted", (16, 16), 30, 5, 3.0, 1e200),
    ):
        parameters = {"centre": centre, "width": width}
        yield Case(f"band-pass-{id_}", about, _REJECTION, shape, count, seed, parameters)
    band = {"centre": 20000.5, "width": 3000.0}
    yield from _around_2_32("band-pass", _REJECTION, band)
    about = "the first candidate's word equals its threshold, which is too much"
    equal = {"centre": 0.0, "width": 56.2472725}
    yield Case("band-pass-equal", about, _REJECTION, (64, 48), 10, 1, equal)


def _torch() -> Iterator[Case]:
    for size in (768, 1024, 4096):
        about = "what PEFT draws by default"
        yield Case(f"peft-777-{size}", about, _TORCH, (size, size), 40, 777)
    yield Case("peft-2024-768", "what PEFT draws", _TORCH, (768, 768), 40, 2024)
    yield Case("torch-all", "every entry", _TORCH, (5, 4), 20, 42)
    yield Case("torch-one", "one cell", _TORCH, (1, 1), 1, 0)
    yield Case("torch-seed-2-64", "the low 32 bits count", _TORCH, (11, 13), 20, _LARGEST_SEED)
    yield from _around_2_32("torch", _TORCH)
    yield Case("torch-64-all", "every entry", _TORCH_64, (5, 4), 20, 42)
    yield Case("torch-64-head", "the head of many steps", _TORCH_64, (97, 89), 30, 777)
    yield Case("torch-64-seed-2-64", "low 32 bits", _TORCH_64, (11, 13), 20, _LARGEST_SEED)


def _around_2_32(
    id_: str, recipe: tuple[str, str], parameters: dict[str, float] | None = None
) -> Iterator[Case]:
    for name, shape in (
        ("below", (65535, 65537)),
        ("at", (65536, 65536)),
        ("above", (65536, 65537)),
    ):
        about = f"{shape[0] * shape[1]} cells: 2^32 and its neighbourhood"
        yield Case(f"{id_}-{name}-2-32", about, recipe, shape, 20, 7, parameters)


def _far() -> Iterator[Place]:
    """Yields places in the largest shapes, where every product is rounded."""
    for i in range(0, 60, 3):
        u, v, fraction = (below(word(32, i + k), 2**30) for k in range(3))
        distance = math.sqrt(u * u + v * v)
        yield u, v, round(distance + fraction / 2**28, 3), 1.375 + i / 16


def _draw(case: Case) -> list[int]:
    total = case.shape[0] * case.shape[1]
    if case.recipe == _REJECTION:
        band = case.parameters or {}
        shape, count, seed = case.shape, case.n, case.seed
        return generators.band_pass(shape, count, seed, band["centre"], band["width"])
    draw = {_FY: generators.uniform, _TORCH: generators.forward, _TORCH_64: generators.inside_out}
    return draw[case.recipe](total, case.n, case.seed)
