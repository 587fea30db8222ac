from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from fourier_format.errors import (
    FourierFormatError,
    TargetNotFoundError,
    UnsupportedError,
    UsageError,
)
from fourier_trainers.keras import BandPass, Explicit, FourierConfig, attach, capture, named_layers
from tests.fourier_trainers.keras import models


def targets(model: Any, wanted: Any, **more: Any) -> list[str]:
    attach(model, FourierConfig(target_modules=wanted, n=8, **more))
    return [target.name for target in capture(model).targets]


def test_suffixes_of_whole_parts_choose_layers_in_the_models_order() -> None:
    assert targets(models.attention(), ("value", "attend/query")) == [
        "attend/query",
        "attend/value",
    ]


def test_a_string_is_a_regular_expression_for_whole_names() -> None:
    assert targets(models.attention(), r"attend/(query|key)|head") == [
        "attend/query",
        "attend/key",
        "head",
    ]


def test_all_linear_is_every_dense_and_einsum_dense_but_what_is_saved() -> None:
    model = models.attention()

    assert targets(model, "all-linear", modules_to_save=("head",)) == [
        "attend/query",
        "attend/key",
        "attend/value",
        "attend/attention_output",
        "steps/inner",
    ]


def test_all_linear_passes_over_an_einsum_that_is_no_matrix() -> None:
    x = keras.Input((6, 4))
    y = layers.EinsumDense("abc,bcd->abd", output_shape=(6, 3), name="each")(x)
    model = keras.Model(x, layers.Dense(3, name="head")(y))

    assert targets(model, "all-linear") == ["head"]


def test_layers_in_lists_and_dicts_of_a_layer_have_names() -> None:
    assert [n for n in named_layers(models.subclassed()) if n.startswith("block/")] == [
        "block/step_a",
        "block/step_b",
        "block/gate_in",
        "block/gate_out",
    ]


def test_two_layers_of_one_name_get_a_number() -> None:
    model = one_layer(Pair("same", "same"), 4)

    assert [n for n in named_layers(model) if "same" in n] == ["pair/same", "pair/same#2"]
    assert targets(model, ("same#2",)) == ["pair/same#2"]


def test_n_and_alpha_of_one_target_follow_patterns() -> None:
    model = models.attention()
    config = FourierConfig(
        target_modules=("query", "inner"),
        n=8,
        n_pattern={"steps/inner": 5},
        alpha_pattern={"query": 3.0},
    )

    adapter = capture(attach(model, config))

    found = {t.name: (adapter.entry_set(t).count, adapter.alpha_of(t)) for t in adapter.targets}
    assert found == {"attend/query": (8, 3.0), "steps/inner": (5, 150.0)}


def test_entries_are_drawn_as_asked() -> None:
    drawn = capture(models.attached(models.functional(), "first", entries=BandPass(2.0, 1.0)))
    chosen = [(0, 1), (3, 2), (11, 7)]
    explicit = capture(
        models.attached(
            models.functional(), "first", n=3, entries=Explicit({(12, 8): np.array(chosen)})
        )
    )

    assert drawn.entry_sets[0].sampling is not None
    assert drawn.entry_sets[0].sampling.method == "band-pass"
    assert [tuple(e) for e in explicit.entry_sets[0].entries.tolist()] == chosen


def one_layer(layer: Any, *shape: int) -> Any:
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


class Pair(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Two layers in a list, of which the second may never be built."""

    def __init__(self, *names: str, used: int = 2) -> None:
        super().__init__(name="pair")
        self.both = [layers.Dense(4, name=name) for name in names]
        self.used = used

    def build(self, input_shape: Any) -> None:
        for layer in self.both[: self.used]:
            layer.build(input_shape)

    def call(self, x: Any) -> Any:
        for layer in self.both[: self.used]:
            x = layer(x)
        return x


def quantised() -> Any:
    model = models.functional()
    model.get_layer("first").quantize("int8")
    return model


def with_lora() -> Any:
    model = models.functional()
    model.get_layer("first").enable_lora(2)
    return model


class OwnKernel(layers.Dense):  # type: ignore[misc]  # Keras has no types
    kernel = None

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units))
        self.bias = None
        self.built = True


class Late(keras.Model):  # type: ignore[misc]  # Keras has no types
    def build(self, input_shape: Any) -> None:
        self.dense = layers.Dense(3, name="dense")
        self.dense.build(input_shape)


def unbuilt() -> Any:
    return keras.Sequential([layers.Dense(3, name="first")], name="unbuilt")


class Tied(layers.Dense):  # type: ignore[misc]  # Keras has no types
    """A layer with another's kernel."""

    def __init__(self, other: Any, **keywords: Any) -> None:
        super().__init__(other.units, use_bias=False, **keywords)
        self.other = lambda: other

    def build(self, _: Any) -> None:
        self._kernel = self.other()._kernel
        self.bias = None
        self.built = True


def tied() -> Any:
    x, one = keras.Input((8,)), layers.Dense(8, name="one")
    return keras.Model(x, Tied(one, name="two")(one(x)))


CANNOT: dict[str, tuple[Any, str, str, str]] = {
    "lstm": (
        lambda: one_layer(layers.LSTM(3, name="r"), 4, 3),
        "r",
        "E-TARGET-NOT-FOUND",
        r"'r' matches no layer that can be adapted \(got LSTM, expected Dense, .*name layers",
    ),
    "attention": (
        models.attention,
        "attend",
        "E-TARGET-NOT-FOUND",
        r"got MultiHeadAttention.*name layers inside it, if it has any: see .*named_layers",
    ),
    "conv1d": (
        lambda: one_layer(layers.Conv1D(3, 2, name="r"), 4, 3),
        "r",
        "E-BASE-UNSUPPORTED",
        r"^r: matched by 'r', but not a layer that can be adapted \(got Conv1D, expected Dense",
    ),
    "depthwise": (
        lambda: one_layer(layers.DepthwiseConv2D(2, name="r"), 4, 4, 3),
        "r",
        "E-BASE-UNSUPPORTED",
        r"^r: .*got DepthwiseConv2D",
    ),
    "transposed": (
        lambda: one_layer(layers.Conv2DTranspose(3, 2, name="r"), 4, 4, 3),
        "r",
        "E-BASE-UNSUPPORTED",
        r"^r: .*got Conv2DTranspose",
    ),
    "normalisation": (
        models.attention,
        "norm",
        "E-BASE-UNSUPPORTED",
        r"^norm: .*got LayerNormalization",
    ),
    "no matrix": (
        lambda: one_layer(layers.EinsumDense("abc,bcd->abd", output_shape=(4, 5), name="r"), 4, 3),
        "r",
        "E-BASE-UNSUPPORTED",
        r"^r: its kernel has an axis that input and output share: no one matrix \(got abc,bcd->abd",
    ),
    "quantised": (
        quantised,
        "first",
        "E-BASE-UNSUPPORTED",
        r"^first: its weight is quantised \(got int8\); attach before quantize",
    ),
    "quantised, all-linear": (quantised, "all-linear", "E-BASE-UNSUPPORTED", "^first: .*int8"),
    "lora": (
        with_lora,
        "first",
        "E-BASE-UNSUPPORTED",
        r"^first: it has LoRA enabled .*attach to a model without LoRA",
    ),
    "lora, all-linear": (with_lora, "all-linear", "E-BASE-UNSUPPORTED", "^first: it has LoRA"),
    "constraint": (
        lambda: one_layer(layers.Dense(3, kernel_constraint="max_norm", name="r"), 4),
        "r",
        "E-BASE-UNSUPPORTED",
        r"^r: it has a kernel_constraint \(got Dense\); a delta weight may break it",
    ),
    "own kernel": (
        lambda: one_layer(OwnKernel(3, name="r"), 4),
        "r",
        "E-BASE-UNSUPPORTED",
        r"^r: its class has a kernel of its own.*OwnKernel",
    ),
    "unbuilt model": (
        unbuilt,
        "first",
        "E-BASE-UNSUPPORTED",
        r"^unbuilt: it was never built, and has no weight .*call the model once, or build it",
    ),
    "unbuilt, all-linear": (unbuilt, "all-linear", "E-BASE-UNSUPPORTED", "never built"),
    "layers made in build": (
        lambda: Late(name="late"),
        "dense",
        "E-BASE-UNSUPPORTED",
        r"^late: it was never built",
    ),
    "unbuilt layer": (
        lambda: one_layer(Pair("used", "extra", used=1), 4),
        "extra",
        "E-BASE-UNSUPPORTED",
        r"^pair/extra: it was never built, and has no weight .*call the model once",
    ),
    "one layer": (
        lambda: models.functional().get_layer("first"),
        "first",
        "E-BASE-UNSUPPORTED",
        r"^first: the model is one layer, which has no name .*keras.Sequential",
    ),
    "tied": (
        tied,
        "all-linear",
        "E-TARGET-AMBIGUOUS",
        r"^one and two: these layers share one weight.*target one of them",
    ),
    "misspelt": (
        models.attention,
        "quary",
        "E-TARGET-NOT-FOUND",
        r"no module of the model has this name \(got quary\); did you mean query",
    ),
}


@pytest.mark.parametrize("case", sorted(CANNOT))
def test_what_cannot_be_adapted_is_said_with_what_to_do_and_the_model_is_unchanged(
    case: str,
) -> None:
    make, wanted, code, words = CANNOT[case]
    model = make()
    before = models.look(model)
    given = wanted if wanted == "all-linear" else (wanted,)

    with pytest.raises(FourierFormatError, match=words) as caught:
        attach(model, FourierConfig(target_modules=given, n=4))

    assert {v.code for v in caught.value.violations} == {code}
    assert models.look(model) == before


def test_all_that_is_wrong_is_said_at_once() -> None:
    model = quantised()
    model.get_layer("second").quantize("int8")

    with pytest.raises(UnsupportedError) as caught:
        attach(model, FourierConfig(target_modules="all-linear", n=4))

    assert [v.where for v in caught.value.violations] == ["first", "second"]


def test_sizes_and_patterns_that_do_not_fit_are_errors() -> None:
    with pytest.raises(UsageError, match=r"first: n exceeds the matrix .*12 \* 8 = 96"):
        models.attached(models.functional(), "first", n=97)
    with pytest.raises(UsageError, match="with an alpha of 0 nothing is trained"):
        models.attached(models.functional(), "first", alpha=0.0)
    with pytest.raises(TargetNotFoundError, match="n_pattern: no target has this name"):
        models.attached(models.functional(), "first", n_pattern={"second": 3})


def test_saved_modules_must_be_there_and_have_weights() -> None:
    with pytest.raises(TargetNotFoundError, match=r"modules_to_save: .*did you mean head"):
        models.attached(models.attention(), "query", modules_to_save=("heads",))
    with pytest.raises(TargetNotFoundError, match="modules_to_save: this layer has no weights"):
        models.attached(models.attention(), "query", modules_to_save=("mean",))
    with pytest.raises(TargetNotFoundError, match="all that it matches is in modules_to_save"):
        models.attached(models.attention(), "query", modules_to_save=("attend",))


def test_what_is_no_model_and_what_is_no_configuration_are_errors() -> None:
    with pytest.raises(UsageError, match=r"not a model \(got int, expected a Keras model or layer"):
        attach(3, FourierConfig(target_modules=("a",)))
    with pytest.raises(UsageError, match=r"not a configuration \(got dict"):
        attach(models.functional(), {"target_modules": ("a",)})  # type: ignore[arg-type]
