"""What a PEFT import needs to know of a base: the canonical matrix behind a module's name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fourier_converters.mapping import Map
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError, Violation


@dataclass(frozen=True, slots=True, eq=False)
class BaseWeight:
    """A weight found in a base.

    Attributes:
        matrix: (out, in) canonical matrix, a view of the base's data.
        source: Where it lies, in words.
    """

    matrix: Array
    source: str


class Base(Protocol):
    """A base model's weights by module name."""

    @property
    def description(self) -> dict[str, str]:
        """Returns what is known of the base, for the manifest's `base_model`."""

    def weight(self, module: str, saved: Array | None = None) -> BaseWeight:
        """Returns the weight of the linear layer `module`.

        Args:
            module: Its path.
            saved: The weight as the adapter's checkpoint holds it: PEFT saves tied ones.

        Raises:
            TargetNotFoundError: It is not there, or not uniquely.
            UnsupportedError: Nothing says how the base stores it.
        """


def open_base(path: Path, mapping: Map, names: Collection[str]) -> Base:
    """Returns the base at `path`: a .safetensors file, a checkpoint directory or an ONNX model.

    Args:
        path: The file or directory.
        mapping: What the user says of where weights lie.
        names: The modules that are going to be asked for; one renaming must suit them all.

    Raises:
        UnsupportedError: It is none of these.
        FileAccessError: It cannot be read.
    """
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
