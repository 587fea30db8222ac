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
    means, are frozen as layers, which makes them keep it.
    """
    layers = [model, *named_layers(model).values()]
    before = Frozen(
        tuple((layer, layer.trainable) for layer in layers),
        tuple((v, v.trainable) for layer in layers for v in own_variables(layer)),
    )
    model.trainable = True
    for layer in layers:
        own = own_variables(layer)
        if any(not v.trainable for v in own) and not any(id(v) in trained for v in own):
            layer.trainable = False
        for variable in own:
            if id(variable) not in trained:
                variable.trainable = False
    return before


def thaw(frozen: Frozen) -> None:
    """Put back what of a model was trained."""
    for layer, trainable in frozen.layers:
        layer.trainable = trainable
    for variable, trainable in frozen.variables:
        variable.trainable = trainable
