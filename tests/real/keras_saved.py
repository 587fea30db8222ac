"""What Keras saves, what is merged of it, and what Keras computes with the results."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourier_converters.keras import to_keras
from fourier_converters.report import Report
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.dtypes import round_once
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import delta
from tests.real.handmade import adapter_of
from tests.real.keras_graphs import Kernel
from tests.real.workspace import once

FORMS = {
    "keras": "model.keras",
    "weights": "model.weights.h5",
    "shards": "shards/model.weights.json",
    "old": "model.h5",
}
SAVED = ("text", "image", "nested", "subclassed", "sequential", "half", "brain", "bert")
DTYPES = {"half": "F16", "brain": "BF16"}
CASES = [(name, form) for name in SAVED for form in FORMS if (name, form) != ("brain", "old")]
_LAYOUTS = {"linear": "in_out", "conv2d": "hwio", "embedding": "vocab_dim"}
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Saved:
    """One model that Keras saved in every form."""

    folder: Path
    name: str

    def kernels(self) -> dict[str, Kernel]:
        """Return every kernel by its layer's path, in the dtype of the model."""
        facts = json.loads((self.folder / self.name / "kernels.json").read_text())
        dtype = DTYPES.get(self.name, "F32")
        with np.load(self.folder / self.name / "kernels.npz") as arrays:
            return {
                path: Kernel(
                    path=path,
                    kind=kind,
                    array=round_once(arrays[path], dtype),
                    contracted=tuple(contracted),
                )
                for path, (kind, contracted) in facts.items()
            }

    def base(self, form: str) -> Path:
        """The base's file."""
        return self.folder / self.name / FORMS[form]

    def merged(self, form: str) -> Path:
        """The place of the merged file."""
        return self.folder.with_name("merged") / self.name / FORMS[form]

    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """Return Keras's outputs: of each merged form, "base" and "adapted" by hand."""
        with np.load(self.merged("keras").with_name("outputs.npz")) as arrays:
            return dict(arrays)


SavedOf = Callable[[str], Saved]
"""What the fixture ``keras_saved_of`` gives: a model's name to what was saved and merged of it."""


def canonical(kernel: Kernel) -> Array:
    """Return the (out, in) matrix."""
    if kernel.kind == "einsum_dense":
        return canonical_matrix(kernel.array, "einsum_dense", contracted=kernel.contracted)
    return canonical_matrix(kernel.array, kernel.kind, _LAYOUTS[kernel.kind])


def stored(kernel: Kernel, change: Array) -> Array:
    """Return a canonical (out, in) delta as Keras stores the kernel."""
    shape, rank = kernel.array.shape, kernel.array.ndim
    if kernel.kind == "conv2d":
        height, width, in_, out = shape
        return change.reshape(out, in_, height, width).transpose(2, 3, 1, 0)
    kept = [axis for axis in range(rank) if axis not in kernel.contracted]
    order = [*kept, *sorted(kernel.contracted)]
    return change.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def adapter_for(saved: Saved) -> Adapter:
    """Return an adapter for every kernel, as training in Keras would name them."""
    return adapter_of({path: (k.kind, canonical(k)) for path, k in saved.kernels().items()})


def saved_and_merged(folder: Path, name: str) -> Saved:
    """Save, merge and run every model of every form at the first call: two runs of Keras."""
    made = once(folder / "saved", lambda target: _keras("save", target))
    once(folder / "merged", lambda target: _merge_all(made, target))
    return Saved(made, name)


def _merge_all(made: Path, target: Path) -> None:
    for name in SAVED:
        saved = Saved(made, name)
        whole, kernels = adapter_for(saved), saved.kernels()
        (target / name / "shards").mkdir(parents=True)
        deltas = {path: stored(k, delta(whole, path)) for path, k in kernels.items()}
        np.savez(target / name / "deltas.npz", allow_pickle=False, **deltas)
        for form in [form for other, form in CASES if other == name]:
            report = to_keras(whole, saved.base(form), target / name / FORMS[form])
            _write_report(target / name / f"{form}.json", report)
    _keras("load", made, target)


def _write_report(path: Path, report: Report) -> None:
    path.write_text(json.dumps(report.as_json()))


def _keras(*arguments: str | Path) -> None:
    settings = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.real.keras_saved_models", *map(str, arguments)]
    environment = os.environ | settings | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, check=False, capture_output=True, cwd=_ROOT, env=environment, text=True
    )
    if done.returncode:
        raise AssertionError(f"Keras failed: {done.stderr[-3000:]}")
