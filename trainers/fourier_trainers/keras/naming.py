"""What layers and variables of a model are called: names of layers joined by "/", as Keras does.

The model's own name is not part of it, so that a target is `transformer_layer_0/.../query` in
whatever the backbone is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from fourier_trainers.names import Naming

NAMES: Final = Naming("/", "fourier_trainers.keras.named_layers(model)")
"""How Keras names layers."""


def named_layers(model: Any) -> dict[str, Any]:
    """Returns every layer inside `model` by its name, each under its first, outer ones first.

    Two layers of one parent that have one name get a number, "dense" and "dense#2".
    """
    return dict(_walk(model, "", {id(model)}))


def named_variables(model: Any) -> dict[str, Any]:
    """Returns every weight of `model` by its layer's name and its own, each under its first."""
    named: dict[str, Any] = {}
    seen: set[int] = set()
    for name, layer in [("", model), *named_layers(model).items()]:
        prefix = f"{name}/" if name else ""
        for variable in own_variables(layer):
            if id(variable) not in seen:
                seen.add(id(variable))
                named[_free(f"{prefix}{variable.name}", named)] = variable
    return named


def own_variables(layer: Any) -> list[Any]:
    """Returns the weights that a layer holds itself."""
    inner = {id(v) for sublayer in sublayers(layer) for v in sublayer.weights}
    return [v for v in layer.weights if id(v) not in inner]


def sublayers(layer: Any) -> list[Any]:
    """Returns the layers that a layer holds itself."""
    found: list[Any] = layer._flatten_layers(include_self=False, recursive=False)  # noqa: SLF001 - also subclassed models'
    return found


def _walk(layer: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    counts: Counter[str] = Counter()
    for inner in sublayers(layer):
        counts[inner.name] += 1
        number = counts[inner.name]
        name = prefix + inner.name + (f"#{number}" if number > 1 else "")
        if id(inner) not in seen:
            seen.add(id(inner))
            yield name, inner
            yield from _walk(inner, f"{name}/", seen)


def _free(name: str, taken: dict[str, Any]) -> str:
    number = 1
    while (free := name if number == 1 else f"{name}#{number}") in taken:
        number += 1
    return free
