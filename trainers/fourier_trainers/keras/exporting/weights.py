"""A model's weights, and how an exporter is given them as tensors of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fourier_format.errors import UnsupportedError, Violation
from fourier_trainers.keras.exporting.quiet import quiet
from fourier_trainers.keras.exporting.signature import WEIGHT_DTYPE, Signature


def weights_of(model: Any) -> list[Any]:
    """Returns the model's float32 variables, each once, in Keras's order.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: weights of another float dtype, or a layer that
            computes in one.
    """
    import keras

    floats = {id(v): v for v in model.variables if keras.backend.is_float_dtype(v.dtype)}
    for variable in floats.values():
        if variable.dtype != WEIGHT_DTYPE:
            _refuse_dtype(variable.path, variable.dtype, "a weight of this dtype is not exported")
    for layer in model._flatten_layers():  # noqa: SLF001 -- `layers` names the outermost alone
        if (
            keras.backend.is_float_dtype(layer.compute_dtype)
            and layer.compute_dtype != WEIGHT_DTYPE
        ):
            problem = "a layer that computes in this dtype is not exported"
            _refuse_dtype(layer.path or layer.name, layer.compute_dtype, problem)
    return list(floats.values())


def as_array(tensor: Any) -> Any:
    """Returns the values of a backend's tensor or of a Keras variable, as an array."""
    import keras

    with quiet():  # NumPy 2 warns of the `__array__` of TensorFlow's tensors, and of torch's
        return np.asarray(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor)))


def call_with(
    model: Any, signature: Signature, weights: Sequence[Any], tensors: Sequence[Any]
) -> Any:
    """Returns the outputs of the model, flattened, with other tensors for its weights.

    Args:
        model: The model.
        signature: What it takes.
        weights: Variables of the model.
        tensors: First the inputs, then a tensor for each of `weights`.
    """
    import keras

    count = len(signature.inputs)
    given = list(zip(weights, tensors[count:], strict=True))
    with keras.StatelessScope(state_mapping=given):
        outputs = model(*signature.arguments(tensors[:count]), training=False)
    return keras.tree.flatten(outputs)


def _refuse_dtype(where: str, got: str, problem: str) -> None:
    advice = (
        "export the float32 model: build it again under keras.config.set_dtype_policy('float32') "
        "and give it these weights"
    )
    violation = Violation("E-CONVERSION-UNSUPPORTED", where, problem, got, WEIGHT_DTYPE, advice)
    raise UnsupportedError(violation)
