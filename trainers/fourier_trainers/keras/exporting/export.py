"""export_base: which way a model takes, and that nothing is written which is not checked."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from fourier_format.atomic import refuse_existing
from fourier_format.errors import UnsupportedError, Violation, dependency_missing
from fourier_trainers.keras.attaching import as_base
from fourier_trainers.keras.exporting.another_process import graph_of_another
from fourier_trainers.keras.exporting.assembling import Array, assembled, unique
from fourier_trainers.keras.exporting.checking import keras_outputs, worst_difference
from fourier_trainers.keras.exporting.graph import Graph
from fourier_trainers.keras.exporting.samples import samples_for
from fourier_trainers.keras.exporting.signature import Signature, signature_of
from fourier_trainers.keras.exporting.tensorflow_graph import tensorflow_graph
from fourier_trainers.keras.exporting.torch_graph import torch_graph
from fourier_trainers.keras.exporting.weights import weights_of
from fourier_trainers.keras.exporting.writing import write_checked
from fourier_trainers.keras.naming import named_variables
from fourier_trainers.keras.saving import FourierModel

_EXTRA: Final = "keras-onnx"
_ALWAYS: Final = ("onnx", "onnxruntime")
_TENSORFLOW: Final = ("tensorflow", "tf2onnx")
_TORCH: Final = ("onnxscript",)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Attributes:
        path: The .onnx file.
        way: What converted the model: "tf2onnx", "torch.onnx.export" or "tf2onnx, in a process of
            its own".
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        weights: How many weights the graph reads, each one initializer.
        difference: The largest difference of an output from Keras's, relative to its largest value.
        declined: Why another way was not taken, one line each.
    """

    path: Path
    way: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: int
    difference: float
    declined: tuple[str, ...] = ()


def export_base(
    model: Any,
    path: str | os.PathLike[str],
    *,
    inputs: Any = None,
    external_data: bool | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a Keras 3 model as an ONNX file that computes in ONNX Runtime what Keras computes.

    If an adapter is attached, it is the base that is written: without delta weights, with the heads
    that it had before. A merged model is written as it is.

    The batch is free, and so is each axis that the model's inputs leave free. Every weight is one
    float32 initializer, under the name that an adapter has for it (`named_layers`). The file is run
    in ONNX Runtime on two batches and compared with Keras before it gets its name.

    On the TensorFlow backend tf2onnx converts the model, on torch torch.onnx.export; where that
    cannot, and on JAX, the model is saved and tf2onnx converts it in a process of its own, for
    which TensorFlow must be installed.

    Args:
        model: The model, built or called, in float32.
        path: The .onnx file.
        inputs: What the model is called with: arrays, which are a sample too, or keras.Input or
            keras.InputSpec with shapes. Not needed for functional models. A subclassed one knows
            the shapes of its first call alone, and takes its inputs for floats.
        external_data: Whether the weights lie in a data file beside it, `<name>.<hex>.0.data`; by
            default where they are too large for one file.
        overwrite: Whether `path` may exist.

    Returns:
        Which way was taken and how exact the result is.

    Raises:
        UsageError: E-USAGE: the model was never built or called, or a sample does not fit it.
        UnsupportedError: E-CONVERSION-UNSUPPORTED: no way manages it, each with its reason; or
            weights that are not float32; or the result is not what Keras computes.
        DependencyMissingError: E-DEPENDENCY-MISSING: a package is not installed.
        OutputExistsError: `path` exists and `overwrite` is false.
        FileAccessError: Writing failed; nothing is left behind.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    _need(_ALWAYS, "exporting to ONNX")
    plain = model.base if isinstance(model, FourierModel) else model
    with as_base(plain):
        return _exported(plain, path, inputs, external_data=external_data, overwrite=overwrite)


def _exported(
    model: Any, path: Path, inputs: Any, *, external_data: bool | None, overwrite: bool
) -> ExportReport:
    """Export by the first way whose result computes what Keras computes."""
    signature = signature_of(model, inputs)
    weights = weights_of(model)
    named = {id(variable): name for name, variable in named_variables(model).items()}
    called = {id(variable): named.get(id(variable), variable.path) for variable in weights}
    samples = samples_for(model, signature, inputs)
    computed = [keras_outputs(model, signature, sample) for sample in samples]
    references = [arrays for _, arrays in computed]
    names = _output_names(model, computed[0][0], [each.name for each in signature.inputs])
    fed = [dict(zip((t.name for t in signature.inputs), s, strict=True)) for s in samples]
    batched = [_is_batch(samples, arrays) for arrays in zip(*references, strict=True)]
    failures: list[Violation] = []
    for way in _ways():
        try:
            graph = way(model, signature, weights, samples[0])
            whole = assembled(graph, signature, names, weights, called, batched)
            check = partial(
                worst_difference,
                title=f"{model.name}, through {graph.way}",
                inputs=fed,
                references=references,
            )
            worst = write_checked(whole, path, check, external=external_data, overwrite=overwrite)
        except UnsupportedError as error:
            failures += error.violations
            continue
        declined = tuple(map(str, failures))
        read = len(whole.weights)
        return ExportReport(path, graph.way, tuple(fed[0]), tuple(names), read, worst, declined)
    raise UnsupportedError(failures)


def _ways() -> list[Any]:
    """Returns the ways that this backend can take, in order.

    Raises:
        DependencyMissingError: The packages of none of them are installed.
    """
    import keras

    backend = keras.config.backend()
    if backend == "tensorflow":
        _need(_TENSORFLOW, "exporting from the TensorFlow backend")
        return [_in_tensorflow]
    if backend == "torch" and not _missing(_TORCH):
        return [torch_graph] if _missing(_TENSORFLOW) else [torch_graph, _in_another]
    if backend == "torch" and _missing(_TENSORFLOW):
        _need(_TORCH, "exporting from the torch backend")
    _need(_TENSORFLOW, f"exporting from the {backend} backend, which goes through TensorFlow,")
    return [_in_another]


def _in_tensorflow(model: Any, signature: Signature, weights: list[Any], _: list[Array]) -> Graph:
    return tensorflow_graph(model, signature, weights)


def _in_another(model: Any, signature: Signature, weights: list[Any], _: list[Array]) -> Graph:
    return graph_of_another(model, signature, weights)


def _missing(packages: Sequence[str]) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def _need(packages: Sequence[str], purpose: str) -> None:
    for package in _missing(packages):
        raise dependency_missing(package, _EXTRA, purpose)


def _output_names(model: Any, outputs: Any, taken: list[str]) -> list[str]:
    """Returns the outputs' names: keys, or the layers that a functional model ends with."""
    import keras

    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    own = list(getattr(model, "output_names", None) or ())
    if all(path and isinstance(path[-1], str) for path in paths):
        names = [str(path[-1]) for path in paths]
    elif len(own) == len(paths):
        names = own
    else:
        names = ["outputs"] if len(paths) == 1 else [f"outputs_{n}" for n, _ in enumerate(paths)]
    return unique(names, set(taken))


def _is_batch(samples: list[list[Array]], arrays: tuple[Array, ...]) -> bool:
    """Whether an output's first axis has the size of the batch in every sample."""
    sizes = [
        (sample[0].shape[0], array.shape[:1]) for sample, array in zip(samples, arrays, strict=True)
    ]
    return len({batch for batch, _ in sizes}) > 1 and all((b,) == size for b, size in sizes)
