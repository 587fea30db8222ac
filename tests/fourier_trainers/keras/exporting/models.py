"""Keras models to export. Built by a program, so that no pytest process imports Keras.

The classes stand here and not in the program: what is exported from JAX is loaded by its module.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

TOKENS = 31


def _text() -> Any:
    """An embedding, attention, EinsumDense in four forms, LayerNormalization and exact GELU."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    states = layers.Embedding(TOKENS, 48, name="tokens")(ids)
    states += layers.MultiHeadAttention(4, 12, name="attention")(states, states)
    states = layers.LayerNormalization(name="norm")(states)
    states = layers.EinsumDense(
        "abc,cd->abd", (None, 40), bias_axes="d", activation="gelu", name="up"
    )(states)
    # Its kernel is [out, in]: what an exporter makes of this one tells apart who reads equations.
    states = layers.EinsumDense("abc,dc->abd", (None, 40), name="turned")(states)
    split = layers.EinsumDense("abc,cde->abde", (None, 4, 10), bias_axes="de", name="split")
    states = layers.EinsumDense("abde,dec->abc", (None, 24), name="join")(split(states))
    states = layers.Dense(20, activation="gelu", name="hidden")(states)
    pooled = layers.GlobalAveragePooling1D(name="pool")(states)
    return keras.Model(ids, layers.Dense(5, name="head")(pooled), name="text")


def _image() -> Any:
    """Convolutions: padded, before BatchNormalization, grouped, strided; of any size."""
    pixels = keras.Input((None, None, 3), name="pixels")
    states = layers.Conv2D(8, 3, padding="same", activation="gelu", name="stem")(pixels)
    states = layers.Conv2D(8, 3, use_bias=False, name="plain")(states)
    states = layers.BatchNormalization(name="normal")(states)
    states = layers.Conv2D(16, 3, groups=4, padding="same", name="grouped")(states)
    states = layers.Conv2D(12, 3, strides=2, padding="same", name="strided")(states)
    pooled = layers.GlobalAveragePooling2D(name="pool")(states)
    return keras.Model(pixels, layers.Dense(5, name="head")(pooled), name="image")


def _sequential() -> Any:
    hidden = [layers.Dense(16, activation="gelu"), layers.Dropout(0.5), layers.Dense(16)]
    model = keras.Sequential([*hidden, layers.LayerNormalization(), layers.Dense(4)])
    model(np.zeros((2, 8), "float32"))  # its input has no name, and the batch is no part of it
    return model


@keras.saving.register_keras_serializable("fourier-tests")
class Encoder(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A subclassed model, whose layers are attributes, with two outputs."""

    def __init__(self, width: int = 16, **rest: Any) -> None:
        super().__init__(**rest)
        self.width = width
        self.up = layers.Dense(width, activation="gelu", name="up")
        self.attention = layers.MultiHeadAttention(2, 8, name="attention")
        self.norm = layers.LayerNormalization(name="norm")
        self.down = layers.Dense(3, name="down")

    def call(self, states: Any) -> dict[str, Any]:
        states = self.up(states)
        states = self.norm(states + self.attention(states, states))
        return {"states": states, "scores": self.down(states)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


def _subclassed() -> Any:
    model = Encoder(name="subclassed")
    model(np.zeros((2, 5, 8), "float32"))
    return model


def _bert() -> Any:
    import keras_hub

    return keras_hub.models.BertBackbone(
        vocabulary_size=TOKENS,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=24,
        name="bert",
    )


def _recurrent() -> Any:
    """Of any length, over which torch's exporter cannot loop."""
    steps = keras.Input((None, 4), name="steps")
    states = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="both")(steps)
    return keras.Model(steps, layers.Dense(3, name="head")(states), name="recurrent")


def gelu() -> Any:
    """Build a model that is nothing but the exact GELU."""
    x = keras.Input((1,), name="x")
    return keras.Model(x, keras.ops.gelu(x, approximate=False), name="gelu")


BUILDERS: dict[str, Callable[[], Any]] = {
    "text": _text,
    "image": _image,
    "sequential": _sequential,
    "subclassed": _subclassed,
    "bert": _bert,
    "recurrent": _recurrent,
}


def build(name: str) -> Any:
    """Build a model whose every weight is drawn; the same on each backend."""
    model = BUILDERS[name]()
    random = np.random.default_rng(7)
    for variable in model.weights:
        if variable.dtype == "float32":
            drawn = random.normal(0, 0.3, variable.shape)
            variable.assign(np.abs(drawn) + 0.1 if "variance" in variable.path else drawn)
    return model


@keras.saving.register_keras_serializable("fourier-tests")
class Restless(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Computes something else at every call, so that no graph can be what it computes."""

    calls = 0

    def call(self, states: Any) -> Any:
        Restless.calls += 1
        return states * float(Restless.calls)


class Unsaved(keras.Model):  # type: ignore[misc]  # Keras has no types
    """Has an argument that its config does not say."""

    def __init__(self, layer: Any) -> None:
        super().__init__(name="unsaved")
        self.layer = layer
        self.of_this_process = object()

    def call(self, states: Any) -> Any:
        return self.layer(states)

    def get_config(self) -> dict[str, Any]:
        return {"layer": self.of_this_process}
