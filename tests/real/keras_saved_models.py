"""Small Keras models and what Keras itself saves of them; a program, run in a process of its own.

    KERAS_BACKEND=tensorflow python -m tests.real.keras_saved_models save FOLDER
    KERAS_BACKEND=tensorflow python -m tests.real.keras_saved_models load FOLDER MERGED

The first writes a folder for each model with its files, kernels and outputs. The second loads what
was merged of them, and changes the kernels of each model by the deltas that lie beside it.
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

from tests.real.keras_models import _text

FORMS = {
    "keras": "model.keras",
    "weights": "model.weights.h5",
    "shards": "shards/model.weights.json",
    "old": "model.h5",
}
_SHARD_GB = 1e-5


@keras.saving.register_keras_serializable("fourier_tests")
class Mixer(keras.Model):  # type: ignore[misc]
    """A subclassed model: layers in attributes and lists, attention within."""

    def __init__(self, **settings: Any) -> None:
        """Make the layers; nothing of them is in the config."""
        super().__init__(**settings)
        self.first = layers.Dense(16, name="first")
        self.blocks = [layers.Dense(16, activation="tanh", name=f"block_{i}") for i in range(2)]
        self.attention = layers.MultiHeadAttention(4, 4, name="attention")
        self.last = layers.EinsumDense("abc,dc->abd", (None, 16), bias_axes="d", name="last")

    def call(self, states: Any) -> Any:
        """Returns the states, mixed."""
        states = self.first(states)
        for block in self.blocks:
            states = block(states)
        return self.last(self.attention(states, states))


def _image() -> Any:
    pixels = keras.Input((12, 12, 4), name="pixels")
    states = layers.Conv2D(8, 3, groups=2, padding="same", activation="relu", name="stem")(pixels)
    states = layers.Conv2D(16, 1, name="point")(states)
    states = layers.BatchNormalization(name="norm")(states)
    pooled = layers.GlobalAveragePooling2D(name="pool")(states)
    return keras.Model(pixels, layers.Dense(5, name="head")(pooled), name="image")


def _nested() -> Any:
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="tanh", name="up"), layers.Dense(6)],
        name="inner",
    )
    given = keras.Input((5, 6), name="states")
    states = layers.TimeDistributed(inner, name="each")(given)
    shared = layers.Dense(6, name="shared")
    states = shared(layers.Activation("tanh")(shared(states)))
    middle = keras.Input((5, 6))
    block = keras.Model(middle, layers.Dense(6, name="dense")(middle), name="block")
    return keras.Model(given, layers.Dense(6, name="dense")(block(states)), name="nested")


def _subclassed() -> Any:
    given = keras.Input((5, 16), name="states")
    return keras.Model(given, Mixer(name="mixer")(given), name="subclassed")


def _sequential(dtype: str) -> Callable[[], Any]:
    return lambda: keras.Sequential(
        [
            keras.Input((12,), dtype=dtype),
            layers.Dense(16, activation="tanh", name="up", dtype=dtype),
            layers.Dense(12, name="down", dtype=dtype),
        ],
        name=f"sequential_{dtype}",
    )


def _bert() -> Any:
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=41,
        num_layers=2,
        num_heads=4,
        hidden_dim=16,
        intermediate_dim=24,
        max_sequence_length=12,
    )
    given = {
        "token_ids": keras.Input((7,), dtype="int32", name="token_ids"),
        "segment_ids": keras.Input((7,), dtype="int32", name="segment_ids"),
        "padding_mask": keras.Input((7,), dtype="int32", name="padding_mask"),
    }
    states = backbone(given)["pooled_output"]
    return keras.Model(given, layers.Dense(3, name="logits")(states), name="bert")


MODELS: dict[str, Callable[[], Any]] = {
    "text": _text,
    "image": _image,
    "nested": _nested,
    "subclassed": _subclassed,
    "sequential": _sequential("float32"),
    "half": _sequential("float16"),
    "brain": _sequential("bfloat16"),
    "bert": _bert,
}


def _build(name: str) -> Any:
    """Build a model whose every weight, bias included, is drawn."""
    keras.backend.clear_session()
    model = MODELS[name]()
    random = np.random.default_rng(7)
    for variable in model.weights:
        if not variable.path.endswith("moving_variance"):
            variable.assign(random.normal(0, 0.3, variable.shape))
    return model


def _outputs(model: Any) -> NDArray[np.float32]:
    random = np.random.default_rng(3)
    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    inputs = given if isinstance(given, dict) else {"": given}
    drawn = {
        key: random.integers(0, 2 if key else 31, (2, *tensor.shape[1:])).astype(np.int32)
        if tensor.dtype == "int32"
        else random.normal(size=(2, *tensor.shape[1:])).astype(np.float32)
        for key, tensor in inputs.items()
    }
    fed = drawn if isinstance(given, dict) else drawn[""]
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(model(fed), "float32")))


def _kernels(model: Any) -> Iterator[tuple[str, Any, str, list[int]]]:
    """Yield each layer's path, its kernel's variable, the kind, and the contracted axes."""
    for path, layer in _layers(model, "", set()):
        if isinstance(layer, layers.EinsumDense):
            left, right = layer.equation.split("->")
            kernel = left.split(",")[1]
            summed = [axis for axis, letter in enumerate(kernel) if letter not in right]
            yield path, layer.kernel, "einsum_dense", summed
        elif isinstance(layer, layers.Dense):
            yield path, layer.kernel, "linear", [0]
        elif isinstance(layer, layers.Conv2D):
            yield path, layer.kernel, "conv2d", [0, 1, 2]
        elif isinstance(layer, layers.Embedding):
            yield path, layer.embeddings, "embedding", [0]


def _layers(parent: Any, above: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield every layer with the names of those around it: what `variable.path` may leave out."""
    for layer in parent._flatten_layers(recursive=False, include_self=False):
        if id(layer) not in seen:
            seen.add(id(layer))
            path = f"{above}/{layer.name}".removeprefix("/")
            yield path, layer
            yield from _layers(layer, path, seen)


def _wide(variable: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float64")))


def _save(folder: Path) -> None:
    for name in MODELS:
        model = _build(name)
        target = folder / name
        (target / "shards").mkdir(parents=True)
        model.save(target / FORMS["keras"])
        model.save_weights(target / FORMS["weights"])
        model.save_weights(target / FORMS["shards"], max_shard_size=_SHARD_GB)
        if name != "brain":  # Keras's old form does not say that two bytes are a bfloat16
            model.save(target / FORMS["old"])
        kernels = {path: (v, kind, summed) for path, v, kind, summed in _kernels(model)}
        arrays = {path: _wide(variable) for path, (variable, *_) in kernels.items()}
        facts = {path: [kind, summed] for path, (_, kind, summed) in kernels.items()}
        np.savez(target / "kernels.npz", allow_pickle=False, **arrays)
        np.savez(target / "run.npz", allow_pickle=False, outputs=_outputs(model))
        (target / "kernels.json").write_text(json.dumps(facts))


def _loaded(name: str, form: str, path: Path) -> Any:
    if form == "keras":
        return keras.saving.load_model(path)
    model = _build(name)
    for variable in model.weights:
        variable.assign(keras.ops.zeros_like(variable))
    model.load_weights(path)
    return model


def _load(folder: Path, merged: Path) -> None:
    for place in sorted(merged.iterdir()):
        name, found = place.name, {}
        for form, file in FORMS.items():
            if (place / file).exists():
                found[form] = _outputs(_loaded(name, form, place / file))
        model = _build(name)
        base = _outputs(model)
        with np.load(place / "deltas.npz") as deltas:
            for path, variable, *_ in _kernels(model):
                variable.assign(_wide(variable) + deltas[path])
        with np.load(folder / name / "run.npz") as before:
            if not np.array_equal(before["outputs"], base):
                raise SystemExit(f"Keras built another {name} the second time")
        found |= {"adapted": _outputs(model), "base": base}
        np.savez(place / "outputs.npz", allow_pickle=False, **found)


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    (_save if what == "save" else _load)(*map(Path, paths))
