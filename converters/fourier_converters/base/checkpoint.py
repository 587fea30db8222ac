"""A base given as safetensors: one file, or a directory with one or with shards."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from fourier_converters.base.protocol import BaseWeight
from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.layouts import framework_layout
from fourier_converters.mapping import Map
from fourier_converters.naming import renamings
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.errors import (
    TargetNotFoundError,
    UnsupportedError,
    Violation,
)
from fourier_format.kinds import canonical_matrix

_INDEX: Final = "model.safetensors.index.json"
_ANY: Final = "*.safetensors"
_WEIGHT: Final = ".weight"


class CheckpointBase:
    """Weights of safetensors files; the layout comes from config.json beside them."""

    def __init__(self, path: Path, mapping: Map, names: Collection[str]) -> None:
        """Open the file or directory at `path`; raises as `open_base`."""
        self._path = path
        self._mapping = mapping
        self._files = _tensors(path)
        modules = [n.removesuffix(_WEIGHT) for n in self._files if n.endswith(_WEIGHT)]
        self._modules = frozenset(modules)
        self._renamings = renamings(names, modules)
        directory = path if path.is_dir() else path.parent
        self._config = _read_config(directory / "config.json")

    @property
    def description(self) -> dict[str, str]:
        """What config.json says of the base."""
        known = {"name": "_name_or_path", "model_type": "model_type"}
        config = self._config if isinstance(self._config, dict) else {}
        found = {key: config.get(field) for key, field in known.items()}
        return {key: value for key, value in found.items() if isinstance(value, str) and value}

    def weight(self, module: str, saved: Array | None = None) -> BaseWeight:
        """Returns the weight of `module`, by its name or the one that the map file gives.

        Tied weights are stored once, so a module may have none; then `saved` stands for it.
        """
        mapped = self._mapping.target(module).weight
        name = mapped if mapped is not None else self._find(module, saved is None)
        if name is None and saved is not None:
            stored, name = saved, f"{module}.weight of the adapter's own checkpoint"
        elif name in self._files:
            stored = self._files[name].tensor(name)
        else:
            raise self._not_found(module, f"the map names {name!r}, which is not in the base")
        if stored.ndim != 2:
            problem = f"{name!r} is not the weight of a linear layer"
            shape = str(stored.shape)
            raise TargetNotFoundError(
                Violation("E-TARGET-NOT-FOUND", module, problem, shape, "two axes")
            )
        layout = self._layout(module)
        return BaseWeight(canonical_matrix(stored, "linear", layout), f"{name} ({layout})")

    def _find(self, module: str, required: bool) -> str | None:
        found = {renaming(module) for renaming in self._renamings} & self._modules
        if len(found) > 1:
            listed = ", ".join(sorted(map(str, found))[:5])
            advice = "say which one with --map"
            raise TargetNotFoundError(
                Violation("E-TARGET-AMBIGUOUS", module, f"could be any of {listed}", advice=advice)
            )
        if not found and required:
            raise self._not_found(module, "no weight of this module is in the base")
        return f"{found.pop()}{_WEIGHT}" if found else None

    def _not_found(self, module: str, problem: str) -> TargetNotFoundError:
        return TargetNotFoundError(
            Violation(
                "E-TARGET-NOT-FOUND",
                module,
                problem,
                got=f"{self._path} with {len(self._files)} tensors",
                advice="is this the base that the adapter was trained on? Else use --map",
            )
        )

    def _layout(self, module: str) -> str:
        layout = self._mapping.target(module).layout or self._mapping.layout
        if layout is not None:
            return layout
        model_types = frozenset(_model_types(self._config))
        layout = framework_layout(module, model_types) if model_types else None
        if layout is None:
            told = f"the model types {sorted(model_types)}" if model_types else "no model type"
            raise UnsupportedError(
                Violation(
                    "E-ORIENTATION-UNKNOWN",
                    module,
                    "nothing says whether the base stores this weight as (out, in) or (in, out)",
                    got=f"{told} in config.json beside {self._path}",
                    advice="put the model's config.json there, or say it with --map and "
                    '{"layout": "out_in"} for nn.Linear, "in_out" for Conv1D',
                )
            )
        return layout


def _model_types(config: Any) -> Iterator[str]:
    """Yields the model types of a config and of its parts, such as an encoder and a decoder."""
    if isinstance(config, dict):
        stated = config.get("model_type")
        if isinstance(stated, str):
            yield stated
        for part in config.values():
            yield from _model_types(part)


def _tensors(path: Path) -> dict[str, SafetensorsFile]:
    """Returns the file that holds each tensor; a name in two files could mean either."""
    found: dict[str, SafetensorsFile] = {}
    for file in _open_files(path):
        for name in file.names:
            if name in found:
                problem = f"{name!r} is in {found[name].path.name} and in {file.path.name}"
                advice = "give the one file that is the base"
                raise UnsupportedError(
                    Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice)
                )
            found[name] = file
    return found


def _open_files(path: Path) -> Iterator[SafetensorsFile]:
    if path.suffix == ".json":
        names = _shards(path)
    elif not path.is_dir():
        names = [path.name]
    elif (path / _INDEX).exists():
        names = _shards(path / _INDEX)
    else:
        whole = path / "model.safetensors"
        names = [whole.name] if whole.exists() else sorted(p.name for p in path.glob(_ANY))
    if not names:
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(path), f"the directory holds no {_ANY}")
        )
    directory = path if path.is_dir() else path.parent
    for name in names:
        yield SafetensorsFile(directory / name)


def _shards(index: Path) -> list[str]:
    """Returns the files that an index names; each must lie beside it."""
    content = _read_config(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(index), "no weight_map"))
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            problem = "a shard lies outside the checkpoint's directory"
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(index), problem, repr(name)))
    return names


def _read_config(path: Path) -> Any:
    """Returns another project's JSON, whatever numbers it holds; None without the file."""
    if not path.exists():
        return None
    with os_errors(path, "read"):
        data = path.read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(path), f"not JSON: {error}")
        ) from None
