"""What a model takes: named inputs with shapes and dtypes, in the structure of its call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fourier_format.errors import UnsupportedError, UsageError, Violation

WEIGHT_DTYPE: Final = "float32"
_INPUT_DTYPES: Final = frozenset({"float32", "int32", "int64", "bool"})
_AUTOMATIC = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?")
"""Names that Keras counts up in a process, so that they differ from run to run."""


@dataclass(frozen=True, slots=True)
class Input:
    """One tensor that the model takes.

    Attributes:
        name: As the Keras model calls it.
        shape: None where a size may vary.
        dtype: "float32", "int32", "int64" or "bool".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What the model is called with.

    Attributes:
        inputs: The tensors, in the order of `keras.tree.flatten`.
        structure: A list of positional arguments: lists, tuples and dicts with zeros for tensors.
    """

    inputs: tuple[Input, ...]
    structure: list[Any]

    def arguments(self, tensors: Sequence[Any]) -> list[Any]:
        """Returns the positional arguments of the model, with `tensors` in their places."""
        import keras

        packed: list[Any] = keras.tree.pack_sequence_as(self.structure, list(tensors))
        return packed


def signature_of(model: Any, inputs: Any = None) -> Signature:
    """Returns what `model` takes.

    Args:
        model: A Keras model that was built or called.
        inputs: Specs or arrays in the structure of the model's first argument, or None.

    Raises:
        UsageError: E-USAGE: the model was never built or called, or `inputs` does not fit.
        UnsupportedError: E-CONVERSION-UNSUPPORTED: an input of another dtype.
    """
    import keras

    if not isinstance(model, keras.Model):
        problem = "this is no Keras model"
        raise UsageError(Violation("E-USAGE", "model", problem, got=type(model).__name__))
    own = _own_arguments(model)
    if inputs is None and own is not None:
        arguments = own
    elif inputs is None or not model.built:
        problem = "the model was never built or called, so its weights and inputs are not known"
        advice = "call it once on a batch, or build it, before export_base"
        raise UsageError(Violation("E-USAGE", model.name, problem, advice=advice))
    else:
        arguments = [_given(inputs, own)]
    tensors = list(_named(model, arguments))
    for tensor in tensors:
        if tensor.dtype not in _INPUT_DTYPES:
            problem, expected = "an input of this dtype is not exported", "float32, int or bool"
            raise UnsupportedError(
                Violation("E-CONVERSION-UNSUPPORTED", tensor.name, problem, tensor.dtype, expected)
            )
    structure = keras.tree.map_structure(lambda _: 0, arguments)
    return Signature(tuple(tensors), structure)


def arrays_in(inputs: Any) -> list[Any] | None:
    """Returns the arrays of `inputs`, flattened; None where they are specs, or nothing."""
    import keras

    flat = keras.tree.flatten(inputs)
    given = [leaf for leaf in flat if not _is_spec(leaf)]
    return flat if inputs is not None and len(given) == len(flat) else None


def _own_arguments(model: Any) -> list[Any] | None:
    """Returns the specs of what the model says that it takes; None where it was never called."""
    import keras

    if not model.built:
        return None
    if getattr(model, "inputs", None):  # functional, or a Sequential that knows its input
        if isinstance(model, keras.Sequential):
            shape, dtype = model.inputs[0].shape, model.inputs[0].dtype
            return [
                keras.InputSpec(dtype=dtype, shape=(None, *shape[1:]), name=model.inputs[0].name)
            ]
        return [keras.tree.map_structure(_spec, model.input)]
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or {"input_shape": config.get("input_shape")}
    if any(shape is None for shape in shapes.values()):
        return None
    return [_shaped(shape, model.input_dtype) for shape in shapes.values()]


def _shaped(shape: Any, dtype: str) -> Any:
    """Returns specs for the shapes of a first call, whose batch says nothing of the next."""
    import keras

    if isinstance(shape, dict):
        return {key: _shaped(value, dtype) for key, value in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.InputSpec(dtype=dtype, shape=(None, *shape[1:]))
    return type(shape)(_shaped(value, dtype) for value in shape)


def _given(inputs: Any, own: list[Any] | None) -> Any:
    """Returns the specs of what the caller gave; arrays leave free what the model leaves free."""
    import keras

    specs = keras.tree.map_structure(_spec, inputs)
    known = keras.tree.flatten(own) if own is not None else []
    flat = keras.tree.flatten(specs)
    if arrays_in(inputs) is None or len(known) != len(flat):
        return specs
    if any(len(spec.shape) != len(fit.shape) for spec, fit in zip(flat, known, strict=True)):
        return specs
    merged = [
        keras.InputSpec(dtype=spec.dtype, shape=_freed(spec.shape, fit.shape), name=fit.name)
        for spec, fit in zip(flat, known, strict=True)
    ]
    return keras.tree.pack_sequence_as(specs, merged)


def _freed(shape: Sequence[int | None], known: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns a shape, free where the known one is."""
    sizes = zip(shape, known, strict=True)
    return tuple(None if free is None else size for size, free in sizes)


def _is_spec(leaf: Any) -> bool:
    import keras

    return isinstance(leaf, keras.InputSpec | keras.KerasTensor)


def _spec(leaf: Any) -> Any:
    """Returns the spec of an array, whose batch is free, or of a symbolic tensor or a spec."""
    import keras

    if not _is_spec(leaf):
        array = np.asarray(leaf)
        dtype = WEIGHT_DTYPE if array.dtype.kind == "f" else str(array.dtype)
        return keras.InputSpec(dtype=dtype, shape=(None, *array.shape[1:]))
    if leaf.shape is None or leaf.dtype is None:
        problem = "an input spec without shape or dtype"
        raise UsageError(Violation("E-USAGE", "inputs", problem, advice="give both"))
    return keras.InputSpec(dtype=leaf.dtype, shape=tuple(leaf.shape), name=leaf.name)


def _named(model: Any, arguments: list[Any]) -> Iterator[Input]:
    """Yields the inputs with their names: of the symbol, of the key, or of the parameter."""
    import keras

    parameters = [p for p in inspect.signature(model.call).parameters if p != "self"]
    taken: set[str] = set()
    for path, spec in keras.tree.flatten_with_path(arguments):
        first, *keys = path
        default = parameters[first] if first < len(parameters) else f"inputs_{first}"
        name = spec.name
        if not name or _AUTOMATIC.fullmatch(name):
            words = [str(key) for key in keys]
            is_key = bool(keys) and isinstance(keys[-1], str)
            name = words[-1] if is_key else "_".join([default, *words])
        number = 1
        unique = name
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        yield Input(unique, tuple(spec.shape), str(spec.dtype))
