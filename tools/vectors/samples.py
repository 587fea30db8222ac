"""The adapters that the vectors are made of, and ways to spoil them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vectors.container import Tensor, compact, tensor

Json = dict[str, Any]
Path = tuple[str | int, ...]


class _Remove:
    """Marks a field to take away."""


REMOVE: Final = _Remove()


def minimal() -> Json:
    """Returns the manifest of the smallest adapter; clause 5.2 shows it."""
    return {
        "format": "fourier-format",
        "version": "1.0",
        "transform": "dft2",
        "alpha": 2.5,
        "entries": [{"id": "4x6", "shape": [4, 6], "count": 3}],
        "targets": [
            {"name": "encoder.query", "kind": "linear", "shape": [4, 6], "entries": "4x6", "row": 0}
        ],
    }


def tensors(dtype: str = "F32", values: Sequence[float] = (0.5, -1.0, 2.0)) -> dict[str, Tensor]:
    """Returns the tensors of `minimal`."""
    return {
        "entries/4x6": tensor("I32", (3, 2), (1, 2, 0, 5, 3, 0)),
        "coefficients/4x6": tensor(dtype, (1, 3), values),
    }


def full() -> tuple[Json, dict[str, Tensor]]:
    """Returns an adapter that has every field of clause 5.2: two sets, three targets."""
    manifest: Json = {
        "format": "fourier-format",
        "version": "1.0",
        "transform": "dft2",
        "alpha": 150.0,
        "seed": 2024,
        "target_modules": ["query", "value"],
        "base_model": {"name": "org/base", "revision": "main", "model_type": "bert"},
        "producer": {"name": "vectors", "version": "1"},
        "labels": ["no", "yes"],
        "entries": [_full_set("4x6", [4, 6], 3), {"id": "5x3.b", "shape": [5, 3], "count": 2}],
        "targets": [
            _target("layer.0.query", "linear", [4, 6], "4x6", 1),
            {**_target("layer.0.value", "einsum_dense", [4, 6], "4x6", 0), "alpha": 0.25},
            _target("stem", "conv2d", [5, 3], "5x3.b", 0),
        ],
        "replacements": ["head/bias", "scale"],
        "origin": {"format": "peft", "text": '{"peft_type": "FOURIERFT"}\n', "name": "default"},
        "metadata": {"score": 0.875, "tags": ["a", None, True], "notes": {}},
    }
    return manifest, {
        **tensors(),
        "coefficients/4x6": tensor("F32", (2, 3), (0.5, -1.0, 2.0, 0.0, 3.0, -0.25)),
        **_full_fingerprints(),
        "entries/5x3.b": tensor("I32", (2, 2), (4, 2, 0, 0)),
        "coefficients/5x3.b": tensor("F16", (1, 2), (1.5, -2.0)),
        "replacements/head/bias": tensor("F32", (2,), (0.5, -0.5)),
        "replacements/scale": tensor("F64", (), (0.1,)),
    }


def _full_set(id_: str, shape: list[int], count: int) -> Json:
    sampling = {
        "method": "explicit",
        "generator": "none",
        "seed": "18446744073709551615",
        "parameters": {"centre": 100, "width": 0.5},
    }
    return {
        "id": id_,
        "shape": shape,
        "count": count,
        "sampling": sampling,
        "fingerprints": {"dtype": "BF16"},
    }


def _target(name: str, kind: str, shape: list[int], entries: str, row: int) -> Json:
    return {"name": name, "kind": kind, "shape": shape, "entries": entries, "row": row}


def _full_fingerprints() -> dict[str, Tensor]:
    return {
        "fingerprints/4x6/samples": tensor("F32", (2, 32), [k / 8 for k in range(64)]),
        "fingerprints/4x6/norm": tensor("F64", (2,), (1.25, 0.0)),
        "fingerprints/4x6/sha256": tensor("U8", (2, 32), list(range(64))),
    }


def edited(manifest: Json, path: Path, value: Any) -> Json:
    """Returns a copy of `manifest` with the field at `path` set to `value`, or removed."""
    result = copy.deepcopy(manifest)
    place: Any = result
    for step in path[:-1]:
        place = place[step]
    if value is REMOVE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return result


def spliced(path: Path, literal: str, manifest: Json | None = None) -> str:
    """Returns the manifest's text with the raw JSON `literal` as the value of the field at `path`.

    This writes what a JSON encoder would not.
    """
    mark = "@splice@"
    base = minimal() if manifest is None else manifest
    return compact(edited(base, path, mark)).replace(f'"{mark}"', literal)


def without(arrays: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the tensors but for one."""
    return {key: array for key, array in arrays.items() if key != name}
