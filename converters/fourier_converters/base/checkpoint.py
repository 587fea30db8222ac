"""A base given as safetensors: one file, or a directory with one or with shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fourier_converters.base import BaseWeight
from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.mapping import Map
from fourier_converters.naming import same_module
from fourier_format import strict_json
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.errors import (
    FileAccessError,
    TargetNotFoundError,
    UnsupportedError,
    Violation,
)
from fourier_format.kinds import canonical_matrix

CONV1D_MODULES: Final[dict[str, frozenset[str]]] = dict.fromkeys(
    ("gpt2", "imagegpt", "decision_transformer", "openai-gpt", "clvp", "clvp_decoder"),
    frozenset({"c_attn", "q_attn", "c_proj", "c_fc"}),
)
"""model_type -> modules that are transformers' Conv1D, whose weight is stored (in, out).

Every other 2-D layer weight of a transformers model is an nn.Linear's, stored (out, in).
Source: the modeling files of transformers 5.23 that use pytorch_utils.Conv1D.
"""


_INDEX: Final = "model.safetensors.index.json"
_ANY: Final = "*.safetensors"


class CheckpointBase:
    """Weights of safetensors files; the layout comes from config.json beside them."""

    def __init__(self, path: Path, mapping: Map) -> None:
        """Open the file or directory at `path`; raises as `open_base`."""
        self._path = path
        self._mapping = mapping
        self._files = {name: file for file in _open_files(path) for name in file.names}
        directory = path if path.is_dir() else path.parent
        self._config = _read_config(directory / "config.json")

    @property
    def description(self) -> dict[str, str]:
        """What config.json says of the base."""
        known = {"name": "_name_or_path", "model_type": "model_type"}
        found = {key: self._config.get(field) for key, field in known.items()}
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
        suffix = ".weight"
        modules = (name.removesuffix(suffix) for name in self._files if name.endswith(suffix))
        found = same_module(module, modules)
        if len(found) == 1:
            return found.pop() + suffix
        if found:
            listed = ", ".join(sorted(found)[:5])
            advice = "say which one with --map"
            raise TargetNotFoundError(
                Violation("E-TARGET-AMBIGUOUS", module, f"could be any of {listed}", advice=advice)
            )
        if required:
            raise self._not_found(module, "no weight of this module is in the base")
        return None

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
        model_type = self._config.get("model_type")
        if not isinstance(model_type, str):
            raise UnsupportedError(
                Violation(
                    "E-ORIENTATION-UNKNOWN",
                    module,
                    "nothing says whether the base stores this weight as (out, in) or (in, out)",
                    got=f"no config.json with a model_type beside {self._path}",
                    advice='put it there, or pass --map with {"layout": "out_in"} for nn.Linear',
                )
            )
        conv1d = CONV1D_MODULES.get(model_type, frozenset())
        return "in_out" if module.rsplit(".", 1)[-1] in conv1d else "out_in"


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
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(index), "no weight_map"))
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            problem = "a shard lies outside the checkpoint's directory"
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(index), problem, repr(name)))
    return names


def _read_config(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.exists() else {}


def _read_json(path: Path) -> dict[str, Any]:
    with os_errors(path, "read"):
        data = path.read_bytes()
    try:
        value = strict_json.loads(data.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise FileAccessError(Violation("E-IO", str(path), "not UTF-8")) from None
    return value if isinstance(value, dict) else {}
