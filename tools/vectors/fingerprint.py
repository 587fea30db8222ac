"""Fingerprints of small canonical matrices, and positions in large ones: clause 9."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Final

from vectors.container import tensor, values_of
from vectors.generators import below, word
from vectors.model import Vector, pretty

_SEED: Final = 0x667072696E74
_SAMPLES: Final = 32


def vectors() -> Iterator[Vector]:
    """Yields positions for some shapes, then whole fingerprints."""
    for out, in_ in ((1, 1), (4, 6), (768, 768), (2**31 - 1, 2**31 - 1)):
        content = {"shape": [out, in_], "positions": [str(k) for k in _positions(out * in_)]}
        yield _vector(f"positions-{out}x{in_}", f"positions in {out} x {in_}", content)
    for dtype in ("F32", "F16", "BF16", "F64"):
        yield _vector(f"matrix-{dtype.lower()}", f"of a {dtype} weight", _matrix(dtype, (6, 7)))
    zero = _matrix("F32", (3, 3), [0.0, -0.0] * 4 + [0.0])
    yield _vector("matrix-zero", "zeros of both signs", zero)


def _vector(id_: str, about: str, content: dict[str, object]) -> Vector:
    files = {".json": pretty(content)}
    return Vector(id=id_, kind="fingerprint", clause="9", about=about, files=files)


def _positions(cells: int) -> list[int]:
    return [below(word(_SEED, i), cells) for i in range(_SAMPLES)]


def _matrix(
    dtype: str, shape: tuple[int, int], values: list[float] | None = None
) -> dict[str, object]:
    cells = shape[0] * shape[1]
    if values is None:
        values = [(below(word(1, i), 255) - 127) / 128 for i in range(cells)]
    if dtype == "F64":
        values = [value / 3 for value in values]  # no longer a float32
    weight = tensor(dtype, shape, values)
    samples = tensor("F32", (_SAMPLES,), [values[k] for k in _positions(cells)])
    return {
        "dtype": dtype,
        "shape": shape,
        "values": values_of(weight),
        "samples": values_of(samples),
        "norm": math.sqrt(math.fsum(value * value for value in values)),
        "sha256": hashlib.sha256(weight.data).hexdigest(),
    }
