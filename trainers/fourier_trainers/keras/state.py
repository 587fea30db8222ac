"""What is remembered of an attached model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import keras
import numpy as np

from fourier_format.adapter import Adapter, Array
from fourier_format.errors import UsageError, Violation
from fourier_format.fingerprint import frobenius_norm, samples_of
from fourier_trainers.config import FourierConfig
from fourier_trainers.keras.coefficients import Witness
from fourier_trainers.keras.freezing import Frozen
from fourier_trainers.keras.layers import LayerKind, variable_of
from fourier_trainers.keras.naming import named_layers
from fourier_trainers.keras.selecting import Site

ATTRIBUTE: Final = "_fourier_state"


@dataclass(slots=True, eq=False)
class State:
    """The adapter of a model.

    Attributes:
        config: What was asked for.
        sites: Its targets, in the adapter's order.
        whole: Weights that are trained whole, by name.
        originals: The base's values of those.
        frozen: What of the base was trained before.
        holders: Layers around targets, outer ones first.
        source: The adapter that was loaded, if one was.
        kept: The base's values of merged weights, by target; empty unless merged.
        members: The targets' coefficients while they are merged.
        merged: Witnesses of the merged weights, by target; empty unless merged.
    """

    config: FourierConfig
    sites: tuple[Site, ...]
    whole: Mapping[str, Any]
    originals: Mapping[str, Array]
    frozen: Frozen
    holders: tuple[Any, ...]
    source: Adapter | None = None
    kept: dict[str, Array] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    merged: dict[str, Witness] = field(default_factory=dict)


def found_state(model: Any) -> tuple[Any, State]:
    """Returns the attached model in `model` and its state: itself, or one inside it.

    Raises:
        UsageError: None has an adapter attached, or several have.
    """
    found = attached_in(model)
    if len(found) != 1:
        problem = "the model has no adapter attached" if not found else "several attached models"
        advice = "call attach(model, config) first" if not found else "give one of them"
        raise UsageError(Violation("E-USAGE", type(model).__name__, problem, advice=advice))
    return found[0], vars(found[0])[ATTRIBUTE]


def attached_in(model: Any) -> list[Any]:
    """Returns `model` and the layers inside it that have an adapter attached."""
    return [m for m in (model, *named_layers(model).values()) if ATTRIBUTE in vars(m)]


def witness(layer: Any, kind: LayerKind) -> Witness:
    """Returns the witness of a layer's weight."""
    matrix = kind.canonical(layer, to_numpy(variable_of(layer, kind)))
    return Witness(samples_of(matrix), frobenius_norm(matrix))


def to_numpy(variable: Any) -> Array:
    """Returns the values of a variable, (...) in its own dtype; bfloat16 as ml_dtypes has it."""
    tensor = keras.ops.convert_to_tensor(variable)  # NumPy 2 warns of a variable of TensorFlow
    values: Array = np.asarray(keras.ops.convert_to_numpy(tensor))
    return values
