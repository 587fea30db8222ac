"""Files of a future 1.x: clauses 6.1 and 6.2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from vectors.container import Tensor, compact, fft, tensor
from vectors.model import Vector
from vectors.samples import Path, edited, full, minimal, tensors
from vectors.valid import file_and_twin

_IGNORED: Final[dict[str, Any]] = {"must_understand": False, "value": [1, 2.5, {"deep": None}]}
_PLACES: Final[dict[str, Path]] = {
    "manifest": (),
    "entry-set": ("entries", 0),
    "sampling": ("entries", 0, "sampling"),
    "fingerprints": ("entries", 0, "fingerprints"),
    "target": ("targets", 0),
    "base-model": ("base_model",),
    "producer": ("producer",),
    "origin": ("origin",),
}


def vectors() -> Iterator[Vector]:
    """Yields the forward vectors: those that are read, then those that are refused."""
    yield from _read()
    yield from _refused()


def _vector(id_: str, about: str, manifest: dict[str, Any], arrays: dict[str, Tensor]) -> Vector:
    files = file_and_twin(compact(manifest), arrays)
    return Vector(id=id_, kind="forward", clause="6.2", about=about, files=files)


def _read() -> Iterator[Vector]:
    manifest, arrays = full()
    manifest["version"] = "1.7"
    everywhere = manifest
    for level, path in _PLACES.items():
        one = edited(manifest, (*path, "gain"), _IGNORED)
        yield _vector(f"ignored-{level}", f"an extension: {level}", one, arrays)
        everywhere = edited(everywhere, (*path, "gain"), _IGNORED)
    yield _vector("ignored-everywhere", "extensions at every level", everywhere, arrays)
    base = minimal() | {"version": "1.999999999"}
    yield _vector("largest-minor", "the largest minor version", base, tensors())
    noted = minimal() | {"version": "1.7", "x-notes": {"must_understand": False}}
    extra = {
        "extensions/x-notes/a": tensor("F32", (3,), (1.0, math.nan, -math.inf)),
        "extensions/x-notes/b/c.d e": tensor("I64", (), (2**63 - 1,)),
    }
    about = "tensors of an extension, which need not be finite"
    yield _vector("extension-tensors", about, noted, tensors() | extra)
    odd = minimal() | {"version": "1.7", "Ünknown field": {"must_understand": False}}
    about = "a reader does not judge an extension's name"
    yield _vector("extension-name", about, odd, tensors())


def _refused() -> Iterator[Vector]:
    manifest, arrays = full()
    manifest["version"] = "1.7"
    values: dict[str, Any] = {
        "true": {"must_understand": True},
        "absent": {"value": 1},
        "text": {"must_understand": "false"},
        "zero": {"must_understand": 0},
        "null": {"must_understand": None},
        "list": [{"must_understand": False}],
        "inner": {"value": {"must_understand": False}},
        "number": 2.0,
    }
    cases: dict[str, tuple[Path, Any]] = {
        **{f"refused-{name}": (("gain",), value) for name, value in values.items()},
        **{
            f"refused-{level}": ((*path, "gain"), {"must_understand": True})
            for level, path in _PLACES.items()
            if path
        },
    }
    for id_, (path, value) in cases.items():
        text = compact(edited(manifest, path, value))
        yield Vector(
            id=id_,
            kind="forward",
            clause="6.2",
            about="a field that must be understood",
            files={".fft": fft(text, arrays)},
            codes=("E-FIELD-UNKNOWN",),
        )
