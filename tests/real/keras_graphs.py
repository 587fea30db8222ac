"""What Keras exports, and what Keras itself computes when its kernels are changed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.real.workspace import once

Backend = Literal["tensorflow", "torch"]
Kind = Literal["linear", "einsum_dense", "conv2d", "embedding"]
Array = NDArray[np.generic]
BACKENDS: tuple[Backend, ...] = ("tensorflow", "torch")
MODELS = ("text", "image")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel, as Keras stores it."""

    path: str
    """``attention/query/kernel``: the variable's path without the model."""
    kind: Kind
    array: NDArray[np.float32]
    contracted: tuple[int, ...]
    """The axes that are summed over; an embedding's rows count as such."""

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The same as [in, out], the contracted axes first and flattened."""
        size = int(np.prod([self.array.shape[axis] for axis in self.contracted]))
        turned = np.moveaxis(self.array, self.contracted, range(len(self.contracted)))
        return turned.reshape(size, -1)


@dataclass(frozen=True, slots=True)
class KerasGraph:
    """One exported model and the folder with all that is known of it."""

    folder: Path
    backend: Backend

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"

    def kernels(self) -> dict[str, Kernel]:
        """Return every kernel by its path."""
        facts = json.loads((self.folder / "kernels.json").read_text())
        with np.load(self.folder / "kernels.npz") as arrays:
            return {
                path: Kernel(path=path, kind=kind, array=arrays[path], contracted=tuple(contracted))
                for path, (kind, contracted) in facts.items()
            }

    def run(self) -> tuple[Array, NDArray[np.float32]]:
        """Return an input, and Keras's output for it."""
        with np.load(self.folder / "run.npz") as arrays:
            return arrays["inputs"], arrays["outputs"]

    def adapted(self, deltas: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return Keras's output for the same input, once these are added to its kernels."""
        with tempfile.TemporaryDirectory() as folder:
            given, got = Path(folder, "deltas.npz"), Path(folder, "outputs.npz")
            np.savez(given, allow_pickle=False, **deltas)
            _keras(self.backend, "adapt", self.folder, given, got)
            with np.load(got) as arrays:
                base, adapted = arrays["base"], arrays["adapted"]
        if not np.array_equal(base, self.run()[1]):
            raise AssertionError(f"Keras built another {self.folder.name} the second time")
        return np.asarray(adapted, np.float32)


KerasGraphOf = Callable[[Backend, str], KerasGraph]
"""What the fixture ``keras_graph_of`` gives: a backend and a model's name to its graph."""


def exported(folder: Path, backend: Backend, model: str) -> KerasGraph:
    """Return the model as this backend exports it; all models are exported at the first call."""
    made = once(folder / backend, lambda target: _keras(backend, "export", target))
    return KerasGraph(made / model, backend)


def _keras(backend: Backend, *arguments: str | Path) -> None:
    settings = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.real.keras_models", *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, cwd=_ROOT, env=os.environ | settings, text=True
    )
    if done.returncode:
        raise AssertionError(f"Keras failed on {backend}: {done.stderr[-2000:]}")
