"""Small checkpoints, adapters for them, and what a merge of the two must hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.mapping import Map, MapEntry
from fourier_converters.report import Report
from fourier_converters.safetensors import to_checkpoint
from fourier_format import Adapter, EntrySet, Target, sampling
from fourier_format.adapter import Array
from fourier_format.containers.safetensors import encode_plain
from fourier_format.fingerprint import fingerprint, stack
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.graphs import weight
from tests.fourier_format import samples

QUERY = "bert.encoder.layer.0.query"
VALUE = "bert.encoder.layer.0.value"

WEIGHTS = {
    f"{QUERY}.weight": weight(6, 6, seed=1),
    f"{QUERY}.bias": weight(1, 6, seed=2)[0],
    f"{VALUE}.weight": weight(4, 6, seed=3),
    f"{VALUE}.bias": weight(1, 4, seed=4)[0],
    "bert.pooler.dense.weight": weight(6, 6, seed=5),
}
"""A base with two layers to adapt."""

CONFIG = {"model_type": "bert", "vocab_size": 97}


def write_base(
    folder: Path,
    tensors: Mapping[str, Array] = WEIGHTS,
    config: Mapping[str, Any] | None = CONFIG,
) -> Path:
    """Write a checkpoint of one file with a config and a tokenizer beside it."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(encode_plain(tensors, {"format": "pt"}))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    return folder


def write_shards(folder: Path, *shards: Mapping[str, Array]) -> Path:
    """Write a checkpoint of several files and their index."""
    folder.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / name).write_bytes(encode_plain(tensors, {"format": "pt"}))
        weight_map |= dict.fromkeys(tensors, name)
    size = sum(array.nbytes for tensors in shards for array in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def adapter(
    weights: Mapping[str, tuple[Array, str, str]],
    *,
    prints: bool = True,
    replacements: Mapping[str, Array] | None = None,
    alpha: float = 20.0,
) -> Adapter:
    """Returns an adapter of one target for each name -> (stored weight, kind, layout)."""
    sets, targets = [], []
    for number, (name, (stored, kind, layout)) in enumerate(weights.items()):
        matrix = canonical_matrix(stored, kind, layout)
        shape = (matrix.shape[0], matrix.shape[1])
        coefficients = np.random.default_rng(number).standard_normal((1, 5)).astype(np.float32)
        sets.append(
            EntrySet(
                id=str(number),
                shape=shape,
                entries=sampling.draw(shape, 5, samples.UNIFORM, 3),
                coefficients=coefficients,
                fingerprints=stack([fingerprint(matrix, name)]) if prints else None,
            )
        )
        targets.append(Target(name=name, kind=kind, shape=shape, entries=str(number), row=0))
    return Adapter(
        alpha=alpha,
        entry_sets=tuple(sets),
        targets=tuple(targets),
        replacements=replacements or {},
    )


def linear(*modules: str, tensors: Mapping[str, Array] = WEIGHTS, **settings: Any) -> Adapter:
    """Returns an adapter of linear targets whose weights are stored (out, in)."""
    weights = {name: (tensors[f"{name}.weight"], "linear", "out_in") for name in modules}
    return adapter(weights, **settings)


def merge(
    whole: Adapter, base: Path, targets: Mapping[str, MapEntry] | None = None, **settings: Any
) -> tuple[dict[str, Array], Report]:
    """Merge into a directory beside the base; returns the result's tensors, and the report."""
    if targets is not None:
        settings["mapping"] = Map(targets=targets)
    output = base.parent / "merged"
    report = to_checkpoint(whole, base, output, **settings)
    return read(output), report


def read(folder: Path) -> dict[str, Array]:
    """Returns the tensors of all files of a directory."""
    files = [SafetensorsFile(path) for path in sorted(folder.glob("*.safetensors"))]
    return {name: file.tensor(name) for file in files for name in file.names}


def digests(folder: Path) -> dict[str, str]:
    """Returns each file's path in the folder with its SHA-256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def layout_of(path: Path) -> Sequence[tuple[str, Any]]:
    """Returns a safetensors file's header entries in order, metadata included."""
    data = path.read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return list(header.items())
