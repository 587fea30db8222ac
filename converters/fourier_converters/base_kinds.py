"""What kind of base a path names, by the names of files alone; nothing is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_KERAS: Final = (".keras", ".h5", ".hdf5", ".weights.json")


def is_onnx_base(base: Path) -> bool:
    """Whether a base is an ONNX model: a .onnx file, or a directory of onnxruntime-genai."""
    return base.suffix == ".onnx" or (base / "genai_config.json").is_file()


def is_keras_base(base: Path) -> bool:
    """Whether a base is what Keras saves: a .keras archive, HDF5, or the index of shards."""
    return base.name.endswith(_KERAS)
