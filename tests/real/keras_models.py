"""Small Keras models and their own exports; a program, run once for each backend.

Keras reads its backend once, when it is imported: hence another process, see ``keras_graphs``.

    KERAS_BACKEND=torch python -m tests.real.keras_models export FOLDER
    KERAS_BACKEND=torch python -m tests.real.keras_models adapt FOLDER/text DELTAS.npz OUTPUTS.npz
"""
# ruff: noqa: TID251 -- Keras is what the converter is compared with

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

_ROWS = 2
_TOKENS = 31


def _text() -> Any:
    """Dense, EinsumDense in four forms, attention and an embedding.

    Without LayerNormalization, which the torch backend cannot export, and without exact GELU, of
    which the TensorFlow backend makes a file that nothing opens.
    """
    ids = keras.Input((7,), dtype="int32", name="ids")
    states = layers.Embedding(_TOKENS, 48, name="tokens")(ids)
    states += layers.MultiHeadAttention(4, 12, name="attention")(states, states)
    states = layers.EinsumDense(
        "abc,cd->abd", (None, 40), bias_axes="d", activation="tanh", name="up"
    )(states)
    # Its kernel is [out, in]: what an exporter makes of this one tells apart who reads equations.
    states = layers.EinsumDense("abc,dc->abd", (None, 40), name="turned")(states)
    states = layers.EinsumDense("abc,cde->abde", (None, 4, 10), bias_axes="de", name="split")(
        states
    )
    states = layers.EinsumDense("abde,dec->abc", (None, 24), name="join")(states)
    states = layers.Dense(20, activation="tanh", name="hidden")(states)
    pooled = layers.GlobalAveragePooling1D(name="pool")(states)
    return keras.Model(ids, layers.Dense(5, name="head")(pooled), name="text")


def _image() -> Any:
    """Convolutions; TensorFlow's grouped one cannot be exported."""
    pixels = keras.Input((12, 12, 3), name="pixels")
    states = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(pixels)
    states = layers.Conv2D(16, 1, name="point")(states)
    states = layers.Conv2D(12, 3, strides=2, name="strided")(states)
    pooled = layers.GlobalAveragePooling2D(name="pool")(states)
    return keras.Model(pixels, layers.Dense(5, name="head")(pooled), name="image")


_MODELS: dict[str, Callable[[], Any]] = {"text": _text, "image": _image}


def _build(name: str) -> Any:
    """Build a model whose every weight, bias included, is drawn; the same on each backend."""
    model = _MODELS[name]()
    random = np.random.default_rng(7)
    for variable in model.weights:
        variable.assign(random.normal(0, 0.3, variable.shape))
    return model


def _inputs(model: Any) -> NDArray[np.generic]:
    random = np.random.default_rng(3)
    shape = (_ROWS, *model.input_shape[1:])
    if model.name == "text":
        return random.integers(0, _TOKENS, shape).astype(np.int32)
    return random.normal(size=shape).astype(np.float32)


def _outputs(model: Any) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(model(_inputs(model))), np.float32)


def _kernels(model: Any) -> Iterator[tuple[Any, str, list[int]]]:
    """Yield each kernel's variable, its kind, and the axes that are summed over."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.Dense):
            yield layer.kernel, "linear", [0]
        elif isinstance(layer, layers.EinsumDense):
            left, right = layer.equation.split("->")
            kernel = left.split(",")[1]
            summed = [axis for axis, letter in enumerate(kernel) if letter not in right]
            yield layer.kernel, "einsum_dense", summed
        elif isinstance(layer, layers.Conv2D):
            yield layer.kernel, "conv2d", [0, 1, 2]
        elif isinstance(layer, layers.Embedding):
            yield layer.embeddings, "embedding", [0]


def _export(folder: Path) -> None:
    for name in _MODELS:
        model = _build(name)
        target = folder / name
        target.mkdir()
        outputs = _outputs(model)
        kernels = list(_kernels(model))
        arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable, *_ in kernels}
        model.export(str(target / "model.onnx"), format="onnx", verbose=False)
        np.savez(target / "kernels.npz", allow_pickle=False, **arrays)
        np.savez(target / "run.npz", allow_pickle=False, inputs=_inputs(model), outputs=outputs)
        facts = {variable.path: [kind, summed] for variable, kind, summed in kernels}
        (target / "kernels.json").write_text(json.dumps(facts))


def _adapt(folder: Path, deltas: Path, outputs: Path) -> None:
    model = _build(folder.name)
    variables = {variable.path: variable for variable in model.weights}
    base = _outputs(model)
    with np.load(deltas) as arrays:
        for path in arrays.files:
            variables[path].assign_add(arrays[path])
    np.savez(outputs, allow_pickle=False, base=base, adapted=_outputs(model))


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    (_export if what == "export" else _adapt)(*map(Path, paths))
