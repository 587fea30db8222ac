"""What of a model is trained: remembered, frozen, and put back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fourier_trainers.keras.naming import named_layers, own_variables


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """What of a model was trained before.

    Attributes:
        layers: Layers with their `trainable`, outer ones first.
        variables: Weights with theirs.
    """

    layers: tuple[tuple[Any, bool], ...]
    variables: tuple[tuple[Any, bool], ...]


def freeze(model: Any, trained: Collection[int]) -> Frozen:
    """Freeze all weights of `model` but those whose id is in `trained`; returns what was before.

    Every layer becomes trainable, since a frozen one hides the weights in it, coefficients too; its
    weights do not. Layers with state that a training would change, such as BatchNormalization's
    means, are frozen as layers, which makes them keep it; but not the model itself.
    """
    layers = [model, *named_layers(model).values()]
    owned = [(layer, own_variables(layer)) for layer in layers]
    before = Frozen(
        tuple((layer, layer.trainable) for layer in layers),
        tuple((v, v.trainable) for _, own in owned for v in own),
    )
    for flag in (False, True):  # TensorFlow passes over a flag that is what it was
        for layer in layers:
            layer.trainable = flag
    # Now what is not trainable is state.
    keeps = {
        id(layer)
        for layer, own in owned
        if layer is not model
        and any(not v.trainable for v in own)
        and not any(id(v) in trained for v in own)
    }
    trains = [(v, v.trainable and id(v) in trained) for _, own in owned for v in own]
    _set([(layer, id(layer) not in keeps) for layer in layers], trains)
    return before


def thaw(frozen: Frozen) -> None:
    """Put back what of a model was trained."""
    _set(frozen.layers, frozen.variables)


def _set(layers: Collection[tuple[Any, bool]], variables: Collection[tuple[Any, bool]]) -> None:
    """Set what is trained. A layer passes its flag on to all in it, so that outer ones go first.

    A layer that several hold may have come before one of them: then it takes another round.
    """
    for _ in layers:
        wrong = [(layer, flag) for layer, flag in layers if layer.trainable != flag]
        for layer, flag in wrong:
            layer.trainable = flag
        if not wrong:
            break
    for variable, flag in variables:
        variable.trainable = flag
