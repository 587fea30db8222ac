"""Bases of a PEFT import: safetensors checkpoints and ONNX models, opened by what they are."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from fourier_converters.base.protocol import Base
from fourier_converters.mapping import Map
from fourier_format.errors import UnsupportedError, Violation


def open_base(path: str | os.PathLike[str], mapping: Map, names: Collection[str]) -> Base:
    """Returns the base at `path`: a .safetensors file, a checkpoint directory or an ONNX model.

    Args:
        path: The file or directory.
        mapping: What the user says of where weights lie.
        names: The modules that are going to be asked for; one renaming must suit them all.

    Raises:
        UnsupportedError: It is none of these.
        FileAccessError: It cannot be read.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        from fourier_converters.onnx.base import OnnxBase

        return OnnxBase(path, mapping, names)
    if path.is_dir() or path.name.endswith((".safetensors", ".safetensors.index.json")):
        from fourier_converters.base.checkpoint import CheckpointBase

        return CheckpointBase(path, mapping, names)
    raise UnsupportedError(
        Violation(
            "E-BASE-UNSUPPORTED",
            str(path),
            "a base is a .safetensors file, a directory with *.safetensors, or a .onnx file",
            got=path.suffix or "a file without suffix",
            advice="save the model with save_pretrained, or export it to ONNX",
        )
    )
