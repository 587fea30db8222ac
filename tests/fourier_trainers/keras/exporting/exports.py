"""What export_base writes on a backend, and what Keras computes there; the parent's side."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.real.keras_graphs import Kernel
from tests.real.workspace import once

Array = NDArray[Any]
Backend = Literal["tensorflow", "torch", "jax"]
BACKENDS: tuple[Backend, ...] = ("tensorflow", "torch", "jax")
MODELS = ("text", "image", "sequential", "subclassed", "bert", "recurrent")
_ROOT = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True)
class Exported:
    """One exported model and the folder with all that is known of it."""

    folder: Path
    backend: Backend

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"

    def report(self) -> dict[str, Any]:
        """What export_base returned."""
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def weights(self) -> dict[str, Array]:
        """Every variable of the model by its path."""
        return _arrays(self.folder / "weights.npz")

    def kernels(self) -> dict[str, Kernel]:
        """Every kernel that can be adapted by its path."""
        facts, arrays = json.loads((self.folder / "kernels.json").read_text()), self.weights()
        return {
            path: Kernel(path=path, kind=kind, array=arrays[path], contracted=tuple(contracted))
            for path, (kind, contracted) in facts.items()
        }

    def inputs(self) -> dict[str, Array]:
        """A batch by the names of inputs."""
        return _arrays(self.folder / "inputs.npz")

    def outputs(self) -> list[Array]:
        """What Keras computes of it."""
        return list(_arrays(self.folder / "outputs.npz").values())

    def adapted(self, deltas: dict[str, NDArray[np.float32]]) -> list[Array]:
        """What Keras computes of it once these are added to its kernels."""
        with tempfile.TemporaryDirectory() as folder:
            given, got = Path(folder, "deltas.npz"), Path(folder, "outputs.npz")
            np.savez(given, allow_pickle=False, **deltas)
            _keras(self.backend, "adapt", self.folder, given, got)
            arrays = _arrays(got)
        base = [array for name, array in arrays.items() if name.startswith("base")]
        if not all(map(np.array_equal, base, self.outputs())):
            raise AssertionError(f"Keras built another {self.folder.name} the second time")
        return [array for name, array in arrays.items() if name.startswith("adapted")]


ExportedOf = Callable[[Backend, str], Exported]
RefusalsOf = Callable[[Backend], dict[str, dict[str, Any]]]
TrainedOf = Callable[[Backend, str], Path]


def exported(folder: Path, backend: Backend, model: str) -> Exported:
    """Return the export of a model; all models are exported at the first call."""
    made = once(folder / backend, lambda target: _keras(backend, "export", target))
    return Exported(made / model, backend)


def refusals(folder: Path, backend: Backend) -> dict[str, dict[str, Any]]:
    """Return each refusal's error, and what it left in the output's folder."""
    made = once(folder / f"{backend}-refused", lambda target: _keras(backend, "refuse", target))
    found: dict[str, dict[str, Any]] = json.loads((made / "refusals.json").read_text())
    return found


def trained(folder: Path, backend: Backend, model: str) -> Path:
    """Return the folder of an adapter that was trained; all are trained at the first call."""
    made = once(folder / f"{backend}-trained", lambda target: _train(backend, target))
    return made / model


def _arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as arrays:
        return dict(arrays)


def _train(backend: Backend, folder: Path) -> None:
    _run(backend, "training", folder)


def _keras(backend: Backend, *arguments: str | Path) -> None:
    said = _run(backend, "program", *arguments)
    # Keras itself warns, of NumPy 2 and of its backends; what is ours is quiet.
    (Path(arguments[1]) / f"{arguments[0]}.stderr").write_text(said)


def _run(backend: Backend, program: str, *arguments: str | Path) -> str:
    """Run a program of this package; return what it says on stderr."""
    settings = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    module = f"tests.fourier_trainers.keras.exporting.{program}"
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        check=False,
        capture_output=True,
        cwd=_ROOT,
        env=os.environ | settings | paths,
        text=True,
    )
    if done.returncode:
        raise AssertionError(f"Keras failed on {backend}: {done.stderr[-2000:]}")
    return done.stderr
