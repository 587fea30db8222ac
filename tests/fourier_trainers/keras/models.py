"""Small models, with random weights, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import keras
import numpy as np
from keras import layers, ops

from fourier_format.adapter import Array
from fourier_trainers.keras import FourierConfig, attach, named_layers
from fourier_trainers.keras.adapted import is_exchanged
from fourier_trainers.keras.naming import named_variables

BACKEND: Final = keras.backend.backend()
PACKAGE: Final = "fourier_tests"


def array(*shape: int, seed: int = 1) -> Array:
    """Returns standard normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ids(rows: int = 4, columns: int = 6, below: int = 30) -> Array:
    """Returns token ids, (rows, columns) int32."""
    return np.random.default_rng(2).integers(0, below, (rows, columns)).astype(np.int32)


def classes(rows: int, below: int) -> Array:
    """Returns labels, (rows,) int32."""
    return (np.arange(rows) % below).astype(np.int32)


def functional(seed: int = 0) -> Any:
    """Returns (8,) -> Dense(12) -> Dense(6): "first", "second"."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((8,))
    y = layers.Dense(12, activation="tanh", name="first")(x)
    return keras.Model(x, layers.Dense(6, name="second")(y), name="functional")


def sequential(seed: int = 0) -> Any:
    """Returns the same as a Sequential."""
    keras.utils.set_random_seed(seed)
    first = layers.Dense(12, activation="tanh", name="first")
    return keras.Sequential([keras.Input((8,)), first, layers.Dense(6, name="second")])


@keras.saving.register_keras_serializable(package=PACKAGE)
class Scaled(layers.Dense):  # type: ignore[misc]  # Keras has no types
    """A Dense of a user's own, with a call of its own."""

    def call(self, inputs: Any, training: Any = None) -> Any:  # noqa: ARG002 - Keras's signature
        """Returns twice x W, plus the bias."""
        return ops.matmul(inputs, self.kernel) * 2 + self.bias


@keras.saving.register_keras_serializable(package=PACKAGE)
class Block(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Layers in a list and in a dict, and a state of its own, which counts its trainings."""

    def __init__(self, units: int = 8, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.units = units
        self.steps = [layers.Dense(units, name="step_a"), Scaled(units, name="step_b")]
        self.gates = {"in": layers.Dense(units, name="gate_in"), "out": layers.Dense(units)}
        self.gates["out"].name = "gate_out"

    def build(self, input_shape: Any) -> None:
        """Build what it holds."""
        for layer in [*self.steps, *self.gates.values()]:
            layer.build(input_shape)
        self.calls = self.add_weight(name="calls", shape=(), trainable=False, initializer="zeros")

    def call(self, x: Any, training: bool = False) -> Any:
        """(..., units) -> the same."""
        if training and self.trainable:
            self.calls.assign_add(1)
        for step in self.steps:
            x = ops.tanh(step(x))
        return x * ops.sigmoid(self.gates["in"](x)) + self.gates["out"](x)

    def get_config(self) -> dict[str, Any]:
        """Returns what it is made of."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Subclassed(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model of a user's own: a block, a normalisation with state, and a head."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.block = Block(8, name="block")
        self.norm = layers.BatchNormalization(name="norm")
        self.drop = layers.Dropout(0.3, seed=3, name="drop")
        self.head = layers.Dense(3, name="head")

    def build(self, input_shape: Any) -> None:
        """Build what it holds."""
        for layer in (self.block, self.norm, self.drop, self.head):
            layer.build(input_shape)

    def call(self, x: Any, training: bool = False) -> Any:
        """(b, 8) -> (b, 3)."""
        x = self.norm(self.block(x, training=training), training=training)
        return self.head(self.drop(x, training=training))


def subclassed(seed: int = 0) -> Any:
    """Returns a built `Subclassed` whose normalisation has seen something."""
    keras.utils.set_random_seed(seed)
    model = Subclassed(name="subclassed")
    model.build((None, 8))
    model.norm.moving_mean.assign(array(8, seed=7) / 4)
    return model


def images(seed: int = 0) -> Any:
    """Returns (8, 8, 2) -> Conv2D, BatchNormalization, Conv2D in groups, Dense(3)."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((8, 8, 2))
    y = layers.Conv2D(6, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Conv2D(6, 3, groups=2, strides=2, activation="relu", name="grouped")(y)
    y = layers.Dropout(0.2, seed=5)(layers.Flatten(name="flatten")(y))
    return keras.Model(x, layers.Dense(3, name="head")(y), name="images")


def attention(seed: int = 0, kind: str = "multi") -> Any:
    """Returns ids (b, 6) -> embedding -> attention -> time-distributed Dense -> (b, 3)."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(30, 8, name="tokens")(x)
    if kind == "multi":
        attend = layers.MultiHeadAttention(2, 4, name="attend")
    else:
        attend = layers.GroupQueryAttention(4, 4, 2, name="attend")
    y = layers.Add(name="sum")([y, attend(y, y)])
    y = layers.LayerNormalization(name="norm")(y)
    y = layers.TimeDistributed(layers.Dense(8, activation="gelu", name="inner"), name="steps")(y)
    y = layers.GlobalAveragePooling1D(name="mean")(y)
    return keras.Model(x, layers.Dense(3, name="head")(y), name="attention")


def nested(seed: int = 0) -> Any:
    """Returns a model that holds a model, and calls it twice."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((8,))
    y = layers.Dense(8, activation="tanh", name="first")(x)
    inner = keras.Model(x, layers.Dense(8, name="last")(y), name="inner")
    z = keras.Input((8,))
    both = layers.Add(name="sum")([inner(z), inner(layers.Rescaling(2.0, name="twice")(z))])
    return keras.Model(z, layers.Dense(3, name="head")(both), name="nested")


def bert(seed: int = 0, **more: Any) -> Any:
    """Returns keras-hub's BertBackbone, tiny, with large weights."""
    import keras_hub

    keras.utils.set_random_seed(seed)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    model = keras_hub.models.BertBackbone(
        vocabulary_size=30, max_sequence_length=8, dropout=0.1, **sizes, **more
    )
    shake(model)
    return model


def bert_inputs(rows: int = 4) -> dict[str, Array]:
    """Returns inputs for it."""
    tokens = ids(rows)
    mask = np.ones_like(tokens)
    mask[:, -1] = 0
    return {"token_ids": tokens, "segment_ids": tokens * 0, "padding_mask": mask}


def gpt2() -> Any:
    """Returns keras-hub's GPT2Backbone, tiny."""
    import keras_hub

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    return keras_hub.models.GPT2Backbone(vocabulary_size=30, max_sequence_length=8, **sizes)


def llama() -> Any:
    """Returns keras-hub's LlamaBackbone, tiny: grouped queries, and an output embedding."""
    import keras_hub

    sizes = {"num_layers": 1, "hidden_dim": 8, "intermediate_dim": 16}
    heads = {"num_query_heads": 4, "num_key_value_heads": 2}
    return keras_hub.models.LlamaBackbone(vocabulary_size=30, **sizes, **heads)


def vit() -> Any:
    """Returns keras-hub's ViTBackbone, tiny: its patches' layer has a state, their positions."""
    import keras_hub

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    return keras_hub.models.ViTBackbone(image_shape=(8, 8, 3), patch_size=4, **sizes)


def tokens() -> dict[str, Array]:
    """Returns token ids and a mask, as keras-hub's decoders take them."""
    x = ids()
    return {"token_ids": x, "padding_mask": np.ones_like(x)}


BACKBONES: Final[dict[str, tuple[Callable[[], Any], tuple[str, ...], Callable[[], Any]]]] = {
    "gpt2": (gpt2, ("query", "token_embedding", "feedforward_output_dense"), tokens),
    "llama": (llama, ("key", "token_embedding", "feedforward_gate_dense"), tokens),
    "vit": (vit, ("patch_embedding", "value", "dense_1"), lambda: array(4, 8, 8, 3)),
}
"""The same as `FAMILIES`, of other backbones of keras-hub."""


def classifier(backbone: Any, *, pooled: str = "pooled_output") -> Any:
    """Returns a backbone with a head on it, "logits"."""
    y = backbone.output
    y = y[pooled] if isinstance(y, dict) else layers.GlobalAveragePooling1D(name="mean")(y)
    return keras.Model(backbone.inputs, layers.Dense(3, name="logits")(y), name="classifier")


def shake(model: Any, seed: int = 11) -> None:
    """Give all weights random values, so that no two are equal, and none is zero."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" in keras.backend.standardize_dtype(variable.dtype):
            value = random.standard_normal(tuple(variable.shape)) / 4
            variable.assign(value.astype(np.float32) + keras.ops.convert_to_numpy(variable))


def attached(model: Any, *targets: str, n: int = 12, **more: Any) -> Any:
    """Returns a model with an adapter that has an effect."""
    given = {"target_modules": targets, "n": n, "alpha": 4.0, "init": "normal", "seed": 5} | more
    return attach(model, FourierConfig(**cast("Any", given)))


def compiled(model: Any, rate: float = 0.05, **more: Any) -> Any:
    """Returns a model that is compiled to learn labels, to run as is fastest for a few steps."""
    if BACKEND != "jax":  # which compiles every operation by itself otherwise
        more = {"run_eagerly": True} | more
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], **more)
    return model


def fitted(model: Any, x: Any, outputs: int = 3, *, epochs: int = 1, **more: Any) -> Any:
    """Returns a model after some steps on random labels."""
    rows = len(next(iter(x.values()))) if isinstance(x, dict) else len(x)
    compiled(model, **more).fit(x, classes(rows, outputs), batch_size=2, epochs=epochs, verbose=0)
    return model


def predict(model: Any, x: Any) -> Array:
    """Returns what a model computes, without `predict`'s tracing."""
    y = model(x, training=False)
    if isinstance(y, dict):
        y = next(iter(y.values()))
    return np.asarray(keras.ops.convert_to_numpy(y))


def weights(model: Any) -> dict[str, Array]:
    """Returns a copy of every weight, by name."""
    return {
        name: np.array(keras.ops.convert_to_numpy(variable))
        for name, variable in named_variables(model).items()
    }


def look(model: Any) -> tuple[Any, ...]:
    """Returns all of a model that attach could change, to be compared."""
    named = {"": model, **named_layers(model)}
    return (
        {name: value.tobytes() for name, value in weights(model).items()},
        {name: layer.trainable for name, layer in named.items()},
        {name: variable.trainable for name, variable in named_variables(model).items()},
        {name: _class(layer) for name, layer in named.items()},
        {name for name, layer in named.items() if {"fourier", "_fourier_state"} & {*vars(layer)}},
        [variable.path for variable in model.trainable_variables],
    )


def _class(layer: Any) -> tuple[type[Any], bool]:
    """Returns a layer's own class, and whether it is exchanged."""
    cls = type(layer)
    return getattr(cls, "base_class", cls), is_exchanged(layer)


def moved(before: dict[str, Array], model: Any) -> set[str]:
    """Returns the names of weights that have other values than before."""
    return {
        name
        for name, value in weights(model).items()
        if name not in before or not np.array_equal(value, before[name])
    }


FAMILIES: Final[dict[str, tuple[Callable[[], Any], tuple[str, ...], Callable[[], Any]]]] = {
    "functional": (functional, ("first", "second"), lambda: array(4, 8)),
    "sequential": (sequential, ("first",), lambda: array(4, 8)),
    "subclassed": (subclassed, ("step_a", "step_b", "gate_out"), lambda: array(4, 8)),
    "nested": (nested, ("inner/first", "inner/last"), lambda: array(4, 8)),
    "images": (images, ("conv", "grouped"), lambda: array(4, 8, 8, 2)),
    "multi": (attention, ("tokens", "query", "value", "attention_output", "inner"), ids),
    "grouped": (lambda: attention(kind="grouped"), ("query", "key", "inner"), ids),
    "bert": (
        lambda: classifier(bert()),
        ("query", "value", "token_embedding", "feedforward_output_dense"),
        bert_inputs,
    ),
}
"""Name -> a model, what of it is targeted, inputs for it."""
