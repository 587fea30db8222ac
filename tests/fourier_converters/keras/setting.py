"""Small files in Keras's layout, written by h5py, and adapters for them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fourier_converters.keras import to_keras
from fourier_converters.keras.base import open_base
from fourier_converters.mapping import Map, MapEntry
from fourier_converters.report import Report
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.dtypes import BFLOAT16
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import adapter
from tests.fourier_converters.graphs import weight

Groups = Mapping[str, tuple[str | None, list[Array]]]
"""Group of a layer -> its name, if it states one, and its variables."""

UP = weight(6, 8, seed=1)  # (in, out)
DOWN = weight(8, 6, seed=2)
TABLE = weight(11, 6, seed=3)
HEAD = weight(6, 3, seed=4)
BIAS = weight(1, 3, seed=5)[0]

GROUPS: Groups = {
    "": ("model", []),
    "layers/embedding": ("tokens", [TABLE]),
    "layers/block": ("block", []),
    "layers/block/up_dense": ("up", [UP, weight(1, 8, seed=6)[0]]),
    "layers/block/down_dense": ("down", [DOWN, weight(1, 6, seed=7)[0]]),
    "layers/dense": ("logits", [HEAD, BIAS]),
}
"""A model of an embedding, a block of two Dense layers, and a head."""

CONFIG: dict[str, Any] = {
    "class_name": "Functional",
    "config": {
        "name": "model",
        "layers": [
            {"module": "keras.layers", "class_name": "Embedding", "config": {"name": "tokens"}},
            {"module": "mine", "class_name": "Block", "config": {"name": "block"}},
            {"module": "keras.layers", "class_name": "Dense", "config": {"name": "logits"}},
        ],
    },
}


def write_weights(path: Path, groups: Groups = GROUPS) -> Path:
    """Write a .weights.h5 as Keras does."""
    with h5py.File(path, "w") as file:
        for group, (name, variables) in groups.items():
            held = file.create_group(f"{group}/vars")
            if name is not None:
                held.attrs["name"] = name
            for number, values in enumerate(variables):
                held[str(number)] = values
                if values.dtype == BFLOAT16:
                    held[str(number)].attrs["dtype"] = "bfloat16"
    return path


def write_archive(
    path: Path,
    groups: Groups = GROUPS,
    config: Any = CONFIG,
    compression: int = zipfile.ZIP_STORED,
    more: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a .keras as Keras does."""
    weights = write_weights(path.with_name("inside.h5"), groups)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.read_bytes())
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    weights.unlink()
    return path


def dense(kernels: Mapping[str, Array], **settings: Any) -> Adapter:
    """Returns an adapter of linear targets whose kernels are (in, out)."""
    matrices = {n: np.ascontiguousarray(k.T) for n, k in kernels.items()}
    return adapter(matrices, **settings)


def einsum(name: str, kernel: Array, contracted: tuple[int, ...], **settings: Any) -> Adapter:
    """Returns an adapter of one einsum_dense target."""
    matrix = canonical_matrix(kernel, "einsum_dense", contracted=contracted)
    return adapter({name: np.ascontiguousarray(matrix)}, kind="einsum_dense", **settings)


def merge(
    whole: Adapter,
    base: Path,
    targets: Mapping[str, MapEntry] | None = None,
    replacements: Mapping[str, MapEntry] | None = None,
    **settings: Any,
) -> tuple[dict[str, Array], Report]:
    """Merge into a file beside the base; returns the result's variables, and the report."""
    output = base.with_name(f"merged.{base.name}")
    mapping = Map(targets=targets or {}, replacements=replacements or {})
    report = to_keras(whole, base, output, mapping=mapping, **settings)
    return read(output), report


def read(path: Path) -> dict[str, Array]:
    """Returns copies of all variables of a file."""
    with open_base(path) as base:
        return {name: v.dataset.array().copy() for name, v in base.variables.items()}
