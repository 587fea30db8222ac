"""An exported file against the Keras model, in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fourier_format.errors import UsageError, Violation
from fourier_trainers.keras.exporting.graph import cannot
from fourier_trainers.keras.exporting.signature import Signature
from fourier_trainers.keras.exporting.weights import as_array

Array = NDArray[Any]

TOLERANCE: Final = 2e-5
"""The largest difference, by the largest value of an output; float32's own is about 1e-6."""


def keras_outputs(model: Any, signature: Signature, sample: list[Array]) -> tuple[Any, list[Array]]:
    """Returns what Keras computes: its structure, and the arrays in it flattened.

    Raises:
        UsageError: E-USAGE: the model fails on the sample, or computes what is not finite.
    """
    import keras

    advice = "give export_base inputs=, a batch that the model takes"
    try:
        tensors = [keras.ops.convert_to_tensor(array) for array in sample]
        outputs = model(*signature.arguments(tensors), training=False)
        arrays = [as_array(each) for each in keras.tree.flatten(outputs)]
    except Exception as error:
        shapes = ", ".join(
            f"{each.name} {array.shape}"
            for each, array in zip(signature.inputs, sample, strict=True)
        )
        problem = f"the model fails on a batch made for its inputs: {str(error).strip()[:300]}"
        raise UsageError(
            Violation("E-USAGE", model.name, problem, shapes, advice=advice)
        ) from error
    if not all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
        problem = "the model's output is not finite on a batch made for its inputs"
        raise UsageError(Violation("E-USAGE", model.name, problem, advice=advice))
    return outputs, arrays


def worst_difference(
    path: Path, title: str, inputs: list[dict[str, Array]], references: list[list[Array]]
) -> float:
    """Returns the largest difference of an output, relative to its largest value.

    Args:
        path: The ONNX file.
        title: What an error calls the model.
        inputs: For each sample, arrays by the names of inputs.
        references: For each sample, Keras's outputs.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: ONNX Runtime does not open or run the file, or
            computes something else.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    problem = "ONNX Runtime does not run the exported model"
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        results = [session.run(None, each) for each in inputs]
    except Exception as error:
        raise cannot(title, problem, str(error).strip()[:500]) from error
    worst = 0.0
    names = [output.name for output in session.get_outputs()]
    for got, expected in zip(results, references, strict=True):
        for name, one, other in zip(names, got, expected, strict=True):
            worst = max(worst, _difference(title, name, np.asarray(one), other))
    return worst


def _difference(title: str, name: str, got: Array, expected: Array) -> float:
    where = f"{title}, output {name}"
    problem = "the exported model computes something else than Keras"
    if got.shape != expected.shape:
        raise cannot(where, problem, f"shape {got.shape} for {expected.shape}")
    if expected.dtype.kind in "fc" and expected.size:
        largest = float(np.abs(expected).max()) or 1.0
        difference = float(np.abs(got.astype(np.float64) - expected).max()) / largest
    else:
        difference = float(not np.array_equal(got, expected))
    if not difference <= TOLERANCE:
        found = f"a difference of {difference:.1e} of the largest output, over {TOLERANCE:.0e}"
        raise cannot(where, problem, found)
    return difference
