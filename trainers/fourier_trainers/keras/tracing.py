"""Compiled functions that hold what a model was: made to be traced again.

TensorFlow's functions keep what Python did when they were traced. A layer that is exchanged may be
in models that nobody hands over, one around it or one that shares it, and they would go on
computing with what is no longer so. Keras keeps no list of the models that a layer is in.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator
from typing import Any, Final

import keras

_FUNCTIONS: Final = ("train_function", "test_function", "predict_function")


def forget_traces(layers: Collection[Any]) -> None:
    """Make every model that holds one of `layers` trace its steps again.

    On the torch backend, its `parameters()` are gathered again, too.
    """
    held = {id(layer) for layer in layers}
    for model in _models():
        inside = [model, *model._flatten_layers(include_self=False)]  # noqa: SLF001 - no other list
        if held.isdisjoint(map(id, inside)):
            continue
        for name in _FUNCTIONS:
            if getattr(model, name, None) is not None:
                setattr(model, name, None)
        for layer in inside:
            if hasattr(layer, "_torch_params"):
                layer._track_variables()  # noqa: SLF001 - Keras does so when a layer is built


def _models() -> Iterator[Any]:
    for candidate in gc.get_objects():
        if issubclass(type(candidate), keras.Model) and hasattr(candidate, "_tracker"):
            yield candidate
