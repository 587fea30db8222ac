"""Exports the models of ``models``; a program, run once for each backend.

Keras reads its backend once, when it is imported: hence another process, see ``exports``.

    KERAS_BACKEND=jax python -m tests.fourier_trainers.keras.exporting.program export FOLDER
    KERAS_BACKEND=jax python -m tests.fourier_trainers.keras.exporting.program refuse FOLDER
    KERAS_BACKEND=jax python -m ...program adapt FOLDER/text DELTAS.npz OUTPUTS.npz
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from fourier_format.errors import FourierFormatError
from fourier_trainers.keras.exporting import ExportReport, export, export_base
from fourier_trainers.keras.naming import named_variables
from tests.fourier_trainers.keras.exporting import models

Array = NDArray[Any]


def inputs_of(name: str) -> dict[str, Array]:
    """Draw a batch of other sizes than those that export_base checks with."""
    random = np.random.default_rng(3)
    if name == "bert":
        tokens = random.integers(0, models.TOKENS, (4, 11)).astype(np.int32)
        mask = np.arange(11) < np.array([[11], [8], [3], [1]])
        types = random.integers(0, 2, (4, 11)).astype(np.int32)
        return {"token_ids": tokens, "segment_ids": types, "padding_mask": mask.astype(np.int32)}
    if name == "text":
        return {"ids": random.integers(0, models.TOKENS, (4, 11)).astype(np.int32)}
    shapes = {"image": (4, 13, 18, 3), "sequential": (5, 8), "subclassed": (5, 5, 8)}
    keys = {"image": "pixels", "sequential": "inputs", "subclassed": "states", "recurrent": "steps"}
    drawn = random.normal(size=shapes.get(name, (4, 11, 4))).astype(np.float32)
    return {keys[name]: drawn}


def outputs_of(name: str, model: Any) -> list[Array]:
    inputs = inputs_of(name)
    given = inputs if name == "bert" else next(iter(inputs.values()))
    outputs = keras.tree.flatten(model(given, training=False))
    return [np.asarray(keras.ops.convert_to_numpy(each), np.float32) for each in outputs]


def _kernels(model: Any) -> Iterator[tuple[Any, str, list[int]]]:
    """Yield each kernel's variable, its kind, and the axes that are summed over."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.Dense):
            yield layer.kernel, "linear", [0]
        elif isinstance(layer, layers.EinsumDense):
            left, right = layer.equation.split("->")
            kernel = left.split(",")[1]
            summed = [axis for axis, letter in enumerate(kernel) if letter not in right]
            yield layer.kernel, "einsum_dense", summed
        elif isinstance(layer, layers.Conv2D):
            yield layer.kernel, "conv2d", [0, 1, 2]
        elif isinstance(layer, layers.Embedding):
            yield layer.embeddings, "embedding", [0]


def _export(folder: Path) -> None:
    for name in models.BUILDERS:
        model = models.build(name)
        target = folder / name
        target.mkdir()
        report = export_base(model, target / "model.onnx")
        _write_report(report, target)
        variables = named_variables(model)
        arrays = {key: keras.ops.convert_to_numpy(v.value) for key, v in variables.items()}
        np.savez(target / "weights.npz", allow_pickle=False, **arrays)
        outputs = {str(n): array for n, array in enumerate(outputs_of(name, model))}
        np.savez(target / "inputs.npz", allow_pickle=False, **inputs_of(name))
        np.savez(target / "outputs.npz", allow_pickle=False, **outputs)
        called = {id(variable): key for key, variable in variables.items()}
        facts = {called[id(v)]: [kind, summed] for v, kind, summed in _kernels(model)}
        (target / "kernels.json").write_text(json.dumps(facts))
    (folder / "gelu").mkdir()
    export_base(models.gelu(), folder / "gelu" / "model.onnx")
    if keras.config.backend() == "tensorflow":  # writing is the same on all of them
        _export_external(folder / "external")


def _export_external(folder: Path) -> None:
    """Export twice to one place, with the weights in a file of their own."""
    folder.mkdir()
    model = models.build("sequential")
    export_base(model, folder / "model.onnx", external_data=True)
    export_base(model, folder / "model.onnx", external_data=True, overwrite=True)


def _write_report(report: ExportReport, folder: Path) -> None:
    fields = dataclasses.asdict(report) | {"path": report.path.name}
    (folder / "report.json").write_text(json.dumps(fields))


def _refusals() -> dict[str, Callable[[Path], Any]]:
    """Return what each refusal takes: a call that must fail, given the output's path."""
    x = keras.Input((4,), name="x")
    dense = keras.Model(x, layers.Dense(3, name="head")(x), name="dense")
    half = keras.Model(x, layers.Dense(3, dtype="float16", name="head")(x), name="half")
    mixed = keras.Model(x, layers.Dense(3, dtype="mixed_bfloat16", name="head")(x), name="mixed")
    inverse = keras.Model(x, keras.ops.erfinv(x * 0.1), name="inverse")
    restless = keras.Model(x, models.Restless(name="restless")(x), name="restless")
    unsaved = models.Unsaved(layers.Dense(3))
    unsaved(np.zeros((2, 4), "float32"))
    wrong = {"dense": np.zeros((2, 7), "float32")}
    return {
        "never called": lambda path: export_base(models.Encoder(), path),
        "no model": lambda path: export_base(layers.Dense(3), path),
        "float16": lambda path: export_base(half, path),
        "mixed_bfloat16": lambda path: export_base(mixed, path),
        "operation": lambda path: export_base(inverse, path),
        "other result": lambda path: export_base(restless, path),
        "not saved": lambda path: export_base(unsaved, path),
        "inputs": lambda path: export_base(dense, path, inputs=wrong["dense"]),
        "packages": lambda path: _without_packages(dense, path),
    }


def _without_packages(model: Any, path: Path) -> None:
    """Export where neither TensorFlow's nor torch's way is installed."""
    found = export._missing
    absent = {"tf2onnx", "onnxscript"}
    export._missing = lambda packages: [name for name in packages if name in absent]
    try:
        export_base(model, path)
    finally:
        export._missing = found


def _refuse(folder: Path) -> None:
    results = {}
    for number, (name, call) in enumerate(_refusals().items()):
        target = folder / str(number)
        target.mkdir()
        try:
            call(target / "model.onnx")
        except FourierFormatError as error:
            found = {"kind": type(error).__name__, "code": error.code, "text": str(error)}
        else:
            found = {"kind": "", "code": "", "text": ""}
        results[name] = found | {"left": sorted(path.name for path in target.iterdir())}
    (folder / "refusals.json").write_text(json.dumps(results))


def _adapt(folder: Path, deltas: Path, outputs: Path) -> None:
    model = models.build(folder.name)
    variables = named_variables(model)
    base = outputs_of(folder.name, model)
    with np.load(deltas) as arrays:
        for path in arrays.files:
            variables[path].assign_add(arrays[path])
    arrays = {f"base-{n}": array for n, array in enumerate(base)}
    adapted = outputs_of(folder.name, model)
    arrays |= {f"adapted-{n}": array for n, array in enumerate(adapted)}
    np.savez(outputs, allow_pickle=False, **arrays)


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    programs: dict[str, Callable[..., None]]
    programs = {"export": _export, "refuse": _refuse, "adapt": _adapt}
    programs[what](*map(Path, paths))
