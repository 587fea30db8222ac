"""The files of a checkpoint: one, several beside each other, or shards that an index names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_format.atomic import os_errors
from fourier_format.errors import UnsupportedError, Violation

_INDEX: Final = "model.safetensors.index.json"
_ANY: Final = "*.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model's safetensors with what lies beside them.

    Attributes:
        path: What was opened: a file, an index or a directory.
        index: The index that names the files, if there is one.
        files: The files.
        tensors: The file that holds each tensor.
        config: The content of config.json; None without one.
    """

    path: Path
    index: Path | None
    files: tuple[SafetensorsFile, ...]
    tensors: dict[str, SafetensorsFile]
    config: Any

    @property
    def directory(self) -> Path:
        """The directory of the files."""
        return directory_of(self.path)

    @property
    def model_types(self) -> frozenset[str]:
        """The model types of config.json and of its parts, such as an encoder and a decoder."""
        return frozenset(_model_types(self.config))


def open_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint at `path`: a .safetensors file, an index or a directory.

    Raises:
        UnsupportedError: It is none of these, or a file of it is broken.
        FileAccessError: It cannot be read.
    """
    index = _index_of(path)
    files = tuple(SafetensorsFile(directory_of(path) / name) for name in _names(path, index))
    config = read_json(directory_of(path) / "config.json")
    return Checkpoint(path, index, files, _tensors(path, files), config)


def directory_of(path: Path) -> Path:
    """Returns the directory of a checkpoint's files."""
    return path if path.is_dir() else path.parent


def read_json(path: Path) -> Any:
    """Returns another project's JSON, whatever numbers it holds; None without the file.

    Raises:
        UnsupportedError: It is not JSON.
        FileAccessError: It cannot be read.
    """
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


def _index_of(path: Path) -> Path | None:
    if path.suffix == ".json":
        return path
    index = path / _INDEX
    return index if path.is_dir() and index.exists() else None


def _names(path: Path, index: Path | None) -> list[str]:
    if index is not None:
        return _shards(index)
    if not path.is_dir():
        return [path.name]
    whole = path / "model.safetensors"
    names = [whole.name] if whole.exists() else sorted(p.name for p in path.glob(_ANY))
    if not names:
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(path), f"the directory holds no {_ANY}")
        )
    return names


def _shards(index: Path) -> list[str]:
    """Returns the files that an index names; each must lie beside it."""
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(index), "no weight_map"))
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or name in {"", ".", ".."}:
            problem = "a shard lies outside the checkpoint's directory"
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(index), problem, repr(name)))
    return names


def _tensors(path: Path, files: tuple[SafetensorsFile, ...]) -> dict[str, SafetensorsFile]:
    """Returns the file that holds each tensor; a name in two files could mean either."""
    found: dict[str, SafetensorsFile] = {}
    for file in files:
        for name in file.names:
            if name in found:
                problem = f"{name!r} is in {found[name].path.name} and in {file.path.name}"
                advice = "give the one file that is the base"
                raise UnsupportedError(
                    Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice)
                )
            found[name] = file
    return found


def _model_types(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        stated = config.get("model_type")
        if isinstance(stated, str):
            yield stated
        for part in config.values():
            yield from _model_types(part)
