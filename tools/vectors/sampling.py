"""What each generator draws, from its text in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vectors import generators
from vectors.model import Vector, pretty

_FY: Final = ("uniform", "splitmix64-fisher-yates")
_REJECTION: Final = ("band-pass", "splitmix64-rejection")
_TORCH: Final = ("torch-randperm", "mt19937-fy32")
_TORCH_64: Final = ("torch-randperm", "mt19937-io64")
_LARGEST_SEED: Final = 2**64 - 1


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
    """Yields the sampling vectors."""
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


def _uniform() -> Iterator[Case]:
    yield Case("uniform-all", "every entry", _FY, (4, 5), 20, 0)
    yield Case("uniform-one", "one cell", _FY, (1, 1), 1, 1)
    yield Case("uniform-768", "a usual shape", _FY, (768, 768), 40, 2024)
    yield Case("uniform-seed-2-64", "the largest seed", _FY, (11, 13), 20, _LARGEST_SEED)
    largest = (2**31 - 1, 2**31 - 1)
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


def _torch() -> Iterator[Case]:
    for size in (768, 1024, 4096):
        about = "what PEFT draws by default"
        yield Case(f"peft-777-{size}", about, _TORCH, (size, size), 40, 777)
    yield Case("peft-2024-768", "what PEFT draws", _TORCH, (768, 768), 40, 2024)
    yield Case("torch-all", "every entry", _TORCH, (5, 4), 20, 42)
    yield Case("torch-one", "one cell", _TORCH, (1, 1), 1, 0)
    yield Case("torch-seed-2-64", "the low 32 bits count", _TORCH, (11, 13), 20, _LARGEST_SEED)
    yield Case("torch-64-all", "every entry", _TORCH_64, (5, 4), 20, 42)
    yield Case("torch-64-head", "the head of many steps", _TORCH_64, (97, 89), 30, 777)
    yield Case("torch-64-seed-2-64", "low 32 bits", _TORCH_64, (11, 13), 20, _LARGEST_SEED)


def _draw(case: Case) -> list[int]:
    total = case.shape[0] * case.shape[1]
    if case.recipe == _REJECTION:
        band = case.parameters or {}
        shape, count, seed = case.shape, case.n, case.seed
        return generators.band_pass(shape, count, seed, band["centre"], band["width"])
    draw = {_FY: generators.uniform, _TORCH: generators.forward, _TORCH_64: generators.inside_out}
    return draw[case.recipe](total, case.n, case.seed)
