"""Write what adapters add to layers of Keras: python -m tests.parity.in_keras FOLDER OUTPUT.

Every layer has a weight of zeros and no bias, and is given the unit vectors: out come the columns
of its delta weight.
"""
# ruff: noqa: TID251 -- Keras is what is looked at

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fourier_format.adapter import Array
from fourier_trainers.config import Path as How
from fourier_trainers.keras import load_adapter
from tests.parity.adapters import TARGETS, Target

PATHS: tuple[How, ...] = ("weight", "activation")


class Base(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A layer for each target."""

    def __init__(self) -> None:
        super().__init__()
        self.each = [layer_of(name, target) for name, target in TARGETS.items()]
        for layer, target in zip(self.each, TARGETS.values(), strict=True):
            layer(units(target))


def layer_of(name: str, target: Target) -> Any:
    """Return a layer with a weight of zeros."""
    keywords: dict[str, Any] = {"name": name}
    if target.kind == "embedding":
        return layers.Embedding(*target.inner, *target.outer, "zeros", **keywords)
    keywords |= {"kernel_initializer": "zeros"}
    if target.kind == "linear":
        return layers.Dense(*target.outer, use_bias=False, **keywords)
    if target.kind == "conv2d":
        return layers.Conv2D(*target.outer, target.inner[1:], use_bias=False, **keywords)
    inner, outer = "bcd"[: len(target.inner)], "efg"[: len(target.outer)]
    return layers.EinsumDense(f"a{inner},{inner}{outer}->a{outer}", target.outer, **keywords)


def units(target: Target) -> Any:
    """Return the unit vectors as the layer takes them."""
    (size,) = {target.shape[1]}
    if target.kind == "embedding":
        return ops.arange(size, dtype="int32")
    each = np.eye(size, dtype=np.float32).reshape(size, *target.inner)
    if target.kind == "conv2d":
        each = each.transpose(0, 2, 3, 1)
    return ops.convert_to_tensor(each)


def deltas(file: Path, path: How) -> dict[str, Array]:
    """Return the delta weight of every target, (out, in)."""
    model = Base()
    load_adapter(model, file, path=path)
    found = {}
    for layer, (name, target) in zip(model.each, TARGETS.items(), strict=True):
        y = layer(units(target))
        columns = np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(ops.stop_gradient(y))))
        found[name] = columns.reshape(target.shape[1], target.shape[0]).T
    return found


if __name__ == "__main__":
    folder, output = map(Path, sys.argv[1:])
    arrays: dict[str, Any] = {
        f"{path} {file.stem} {name}": delta
        for file in sorted(folder.glob("*.fft"))
        for path in PATHS
        for name, delta in deltas(file, path).items()
    }
    np.savez(output, **arrays)
