"""A graph through tf2onnx, from a model on any backend: saved, and loaded under TensorFlow.

Keras reads its backend once a process. What travels is a `.keras` file in a temporary folder and
the graph, which has no weights: those are put in here, from the model itself.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fourier_format.errors import UnsupportedError, Violation
from fourier_trainers.keras.exporting.graph import Graph, cannot, root_cause
from fourier_trainers.keras.exporting.quiet import quiet
from fourier_trainers.keras.exporting.signature import Input, Signature
from fourier_trainers.keras.exporting.tensorflow_graph import tensorflow_graph
from fourier_trainers.keras.exporting.weights import weights_of

_MODEL: Final = "model.keras"
_REQUEST: Final = "request.json"
_GRAPH: Final = "graph.onnx"
_FAILURE: Final = "failure.json"
_SETTINGS: Final = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def graph_of_another(model: Any, signature: Signature, weights: list[Any]) -> Graph:
    """Returns the graph of `model`, made in a process of its own on the TensorFlow backend.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: the model cannot be saved or loaded again, or
            tf2onnx cannot convert it.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="fourier-export-") as name:
        folder = Path(name)
        _save(model, folder / _MODEL)
        request = {
            "inputs": [[each.name, each.shape, each.dtype] for each in signature.inputs],
            "structure": _as_json(signature.structure),
            "weights": [list(variable.shape) for variable in weights],
        }
        (folder / _REQUEST).write_text(json.dumps(request))
        done = _run(folder)
        if (folder / _FAILURE).exists():
            raise UnsupportedError(
                Violation(**fields) for fields in json.loads((folder / _FAILURE).read_text())
            )
        if done.returncode or not (folder / _GRAPH).exists():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise cannot(model.name, "the process that exports with TensorFlow failed", last)
        return Graph(onnx.load(folder / _GRAPH), "tf2onnx, in a process of its own")


def answer(folder: Path) -> None:
    """Do what a request asks: the other process's side.

    Args:
        folder: Holds the model and the request; the graph, or what went wrong, is put into it.
    """
    try:
        proto = _answered(folder)
    except UnsupportedError as error:
        fields = [violation.as_json() for violation in error.violations]
        for each in fields:
            each.pop("clause")
        (folder / _FAILURE).write_text(json.dumps(fields))
        return
    (folder / _GRAPH).write_bytes(proto.SerializeToString())


def _answered(folder: Path) -> Any:
    request = json.loads((folder / _REQUEST).read_text())
    model = _load(folder / _MODEL)
    inputs = tuple(Input(name, tuple(shape), dtype) for name, shape, dtype in request["inputs"])
    signature = Signature(inputs, _from_json(request["structure"]))
    weights = weights_of(model)
    if [list(variable.shape) for variable in weights] != request["weights"]:
        problem = "loaded from its .keras file, the model has other weights than before"
        advice = "make its get_config and build say all that its weights depend on"
        raise cannot(model.name, problem, advice=advice)
    return tensorflow_graph(model, signature, weights).proto


def _save(model: Any, path: Path) -> None:
    try:
        with quiet():
            model.save(path)
    except Exception as error:
        problem = "the model cannot be saved as .keras, by which it is handed to TensorFlow"
        advice = "give its classes a get_config, or export under KERAS_BACKEND=tensorflow"
        raise cannot(model.name, problem, root_cause(error), advice) from error


def _load(path: Path) -> Any:
    """Returns the model of a `.keras` file that this very program wrote a moment ago."""
    import keras

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    try:
        with quiet():
            classes = dict(_classes(config))
            return keras.saving.load_model(path, classes, compile=False, safe_mode=False)
    except Exception as error:
        problem = "the model cannot be loaded from its .keras file, to be exported with TensorFlow"
        advice = (
            "define its classes in a module that can be imported, not in the script that is run, "
            "and give them a get_config; or export under KERAS_BACKEND=tensorflow"
        )
        title = str(config.get("config", {}).get("name", "model"))
        raise cannot(title, problem, root_cause(error), advice) from error


def _classes(config: Any) -> Iterator[tuple[str, Any]]:
    """Yields the classes in a model's config that are not Keras's own, imported, by their names."""
    if isinstance(config, dict):
        module, name = config.get("module"), config.get("class_name")
        if isinstance(module, str) and isinstance(name, str):
            package = module.partition(".")[0]
            if package not in {"keras", "builtins", "__main__"}:
                importlib.import_module(package)  # what registers its classes may be done there
                found = getattr(importlib.import_module(module), name, None)
                if found is not None:
                    yield name, found
        for value in config.values():
            yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs this package as a program; modules are found where they are found here."""
    paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 -- "" is the folder we are in
    settings = _SETTINGS | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", __package__, str(folder)]
    return subprocess.run(  # noqa: S603 -- this very Python, with a folder of our own
        command, check=False, capture_output=True, env=os.environ | settings, text=True
    )


def _as_json(structure: Any) -> Any:
    """Returns a structure of zeros as JSON, in which a tuple is not a list."""
    if isinstance(structure, dict):
        return {"dict": {key: _as_json(value) for key, value in structure.items()}}
    if isinstance(structure, list | tuple):
        kind = "list" if isinstance(structure, list) else "tuple"
        return {kind: [_as_json(value) for value in structure]}
    return structure


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {key: _from_json(each) for key, each in inner.items()}
    items = [_from_json(each) for each in inner]
    return items if kind == "list" else tuple(items)
