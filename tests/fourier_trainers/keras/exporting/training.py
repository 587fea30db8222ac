"""Trains an adapter on each model of ``models``, and exports its base; a program, for each backend.

KERAS_BACKEND=jax python -m tests.fourier_trainers.keras.exporting.training FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import fourier_format
from fourier_trainers.keras import FourierConfig, attach, capture, export_base, named_layers
from fourier_trainers.keras.layers import kind_of
from tests.fourier_trainers.keras.exporting import models
from tests.fourier_trainers.keras.exporting.program import inputs_of, outputs_of

_HEADS = {"text": "head", "image": "head", "subclassed": "down", "bert": "pooled_dense"}


def _train(name: str, folder: Path) -> None:
    """Adapt all layers but the head, which is trained whole, and write all that came of it."""
    model, inputs = models.build(name), inputs_of(name)
    base = outputs_of(name, model)
    head = _HEADS[name]
    targets = [key for key, layer in named_layers(model).items() if kind_of(layer, key)]
    wanted = [key for key in targets if key != head]
    config = FourierConfig(
        target_modules=wanted, n=20, alpha=20.0, gain=20.0, modules_to_save=(head,), bias="targets"
    )
    attach(model, config)
    model.compile(keras.optimizers.Adam(1e-2), loss="mse")
    given: Any = inputs if name == "bert" else next(iter(inputs.values()))
    random = np.random.default_rng(5)
    aims = keras.tree.map_structure(lambda y: random.normal(size=y.shape), model(given))
    model.fit(given, aims, epochs=3, verbose=0)
    folder.mkdir(parents=True)
    export_base(model, folder / "base.onnx")
    fourier_format.save(capture(model), folder / "adapter.fft")
    np.savez(folder / "inputs.npz", allow_pickle=False, **inputs)
    for key, found in (("base", base), ("adapted", outputs_of(name, model))):
        arrays = {str(k): array for k, array in enumerate(found)}
        np.savez(folder / f"{key}.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    for each in _HEADS:
        _train(each, Path(sys.argv[1], each))
