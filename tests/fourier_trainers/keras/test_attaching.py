from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from fourier_format.errors import UnsupportedError, UsageError
from fourier_trainers.keras import (
    FourierConfig,
    FourierModel,
    attach,
    capture,
    detach,
    named_layers,
)
from tests.fourier_trainers.keras import models

FAMILIES = sorted(models.FAMILIES)
OUTPUTS = {"functional": 6, "sequential": 6}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_coefficients_move_and_detach_gives_the_base_bit_for_bit(family: str) -> None:
    make, targets, inputs = models.FAMILIES[family]
    model, x = make(), inputs()
    before, weights, y = models.look(model), models.weights(model), models.predict(model, x)

    attach(model, FourierConfig(target_modules=targets, n=12))
    assert np.array_equal(models.predict(model, x), y)
    models.fitted(model, x, OUTPUTS.get(family, 3))

    names = {target.name for target in capture(model).targets}
    assert models.moved(weights, model) == {f"{name}/fourier/coefficients" for name in names}
    assert all(any(name.endswith(t) for name in names) for t in targets)
    assert not np.allclose(models.predict(model, x), y)
    assert detach(model) is model
    assert models.look(model) == before
    assert np.array_equal(models.predict(model, x), y)


@pytest.mark.parametrize("family", sorted(models.BACKBONES))
def test_backbones_of_keras_hub_are_trained_by_their_coefficients_and_saved(
    family: str, tmp_path: Path
) -> None:
    make, targets, inputs = models.BACKBONES[family]
    keras.utils.set_random_seed(0)
    model, x = make(), inputs()
    models.shake(model)
    before, weights = models.look(model), models.weights(model)
    y = models.predict(model, x)

    models.attached(model, *targets, init="zeros")
    model.compile("sgd", "mse", run_eagerly=models.BACKEND != "jax")
    model.fit(x, np.zeros_like(y), verbose=0)

    names = [target.name for target in capture(model).targets]
    assert models.moved(weights, model) == {f"{name}/fourier/coefficients" for name in names}
    assert len(names) == 3
    trained = models.predict(model, x)
    FourierModel(model).save(tmp_path / "tuned.keras")
    again = keras.saving.load_model(tmp_path / "tuned.keras")
    assert np.array_equal(models.predict(again, x), trained)
    detach(model)
    assert models.look(model) == before
    assert np.array_equal(models.predict(model, x), y)


def test_a_weight_more_for_each_target_has_its_layers_name_in_its_path() -> None:
    model = models.nested()
    paths = {v.path for v in model.variables}

    models.attached(model, "inner/first", "head", n=7)

    more = {v.path: tuple(v.shape) for v in model.variables if v.path not in paths}
    assert more == {
        "inner/first/fourier/coefficients": (7,),
        "head/fourier/coefficients": (7,),
    }
    assert {v.path for v in model.trainable_variables} == set(more)


def test_layers_of_one_shape_share_a_list_of_entries() -> None:
    adapter = capture(models.attached(models.attention(), "query", "key", "inner"))

    assert len(adapter.entry_sets) == 1


def test_a_shared_layer_is_one_target_and_its_gradient_is_of_both_uses() -> None:
    model, x = models.nested(), models.array(4, 8)
    models.attached(model, "inner/first", init="zeros")
    models.compiled(model).fit(x, models.classes(4, 3), verbose=0)
    both = capture(model).entry_sets[0].coefficients[0]

    adapter = capture(model)
    assert [target.name for target in adapter.targets] == ["inner/first"]
    assert np.count_nonzero(both) == both.size


def test_a_backbone_frozen_before_is_trained_by_its_coefficients_and_frozen_after() -> None:
    backbone = models.attention()
    backbone.trainable = False
    x = keras.Input((6,), dtype="int32")
    model = keras.Model(x, layers.Dense(3, name="logits")(backbone(x)))
    before, weights = models.look(model), models.weights(model)

    models.attached(model, "query", "value", modules_to_save=("logits",), init="zeros")
    models.fitted(model, models.ids())

    assert models.moved(weights, model) == {
        "attention/attend/query/fourier/coefficients",
        "attention/attend/value/fourier/coefficients",
        "logits/kernel",
        "logits/bias",
    }
    detach(model)
    assert models.look(model) == before
    assert not backbone.trainable


def test_layers_frozen_one_by_one_are_so_again() -> None:
    model = models.images()
    model.get_layer("conv").trainable = False
    model.get_layer("head").bias.trainable = False
    before = models.look(model)

    detach(models.attached(model, "conv", "grouped", modules_to_save=("norm",)))

    assert models.look(model) == before


def test_a_frozen_layer_that_two_models_hold_is_frozen_again() -> None:
    shared = layers.Dense(8, name="shared")
    x, z = keras.Input((8,)), keras.Input((8,))
    one = keras.Model(x, shared(x), name="one")
    two = keras.Model(z, layers.Dense(8, name="other")(shared(z)), name="two")
    y = keras.Input((8,))
    model = keras.Model(y, two(one(y)))
    shared.trainable = False
    before = models.look(model)

    detach(models.attached(model, "other"))

    assert models.look(model) == before
    assert not shared.trainable
    assert two.trainable


def test_batch_normalisation_keeps_its_state_while_training() -> None:
    model, x = models.images(), models.array(8, 8, 8, 2)
    norm = model.get_layer("norm")
    models.attached(model, "conv")

    before = [np.array(keras.ops.convert_to_numpy(v)) for v in norm.weights]
    models.fitted(model, x, epochs=2)

    after = [keras.ops.convert_to_numpy(v) for v in norm.weights]
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_a_saved_batch_normalisation_is_trained_whole_with_its_state_and_put_back() -> None:
    model, x = models.images(), models.array(8, 8, 8, 2)
    before = models.look(model)
    models.attached(model, "conv", modules_to_save=("norm", "head"))
    weights = models.weights(model)

    models.fitted(model, x)

    saved = {
        *(f"norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
        *("head/kernel", "head/bias"),
    }
    assert models.moved(weights, model) == saved | {"conv/fourier/coefficients"}
    adapter, now = capture(model), models.weights(model)
    assert {n: v.tobytes() for n, v in adapter.replacements.items()} == {
        name: now[name].tobytes() for name in adapter.replacements
    }
    assert set(adapter.replacements) == saved
    detach(model)
    assert models.look(model) == before


class Counting(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model with a state that it holds itself, and a layer with another."""

    def __init__(self) -> None:
        super().__init__(name="counting")
        self.block = models.Block(8, name="block")
        self.head = layers.Dense(3, name="head")

    def build(self, input_shape: Any) -> None:
        self.offset = self.add_weight(name="offset", shape=(8,), trainable=False)
        self.block.build(input_shape)
        self.head.build(input_shape)

    def call(self, x: Any) -> Any:
        return self.head(self.block(x + self.offset))


def test_a_state_of_the_models_own_does_not_freeze_what_is_trained_in_it() -> None:
    model = Counting()
    model.build((None, 8))
    before, weights = models.look(model), models.weights(model)

    models.attached(model, "head", modules_to_save=("step_a",), init="zeros")
    models.fitted(model, models.array(4, 8))

    assert models.moved(weights, model) == {
        "head/fourier/coefficients",
        "block/step_a/kernel",
        "block/step_a/bias",
    }
    detach(model)
    assert models.look(model) == before


def test_dropout_drops_while_training_alone() -> None:
    model, x = models.subclassed(), models.array(64, 8)
    models.attached(model, "step_a")

    still, again = models.predict(model, x), models.predict(model, x)
    noisy = keras.ops.convert_to_numpy(model(x, training=True))

    assert np.array_equal(still, again)
    assert not np.allclose(noisy, still)


@pytest.mark.parametrize(
    ("bias", "saved"),
    [
        ("none", set()),
        ("targets", {"inner/first/bias"}),
        ("all", {"inner/first/bias", "inner/last/bias", "head/bias"}),
    ],
)
def test_biases_are_trained_as_asked(bias: str, saved: set[str]) -> None:
    model = models.nested()
    before = models.look(model)
    models.attached(model, "inner/first", bias=bias)
    weights = models.weights(model)

    models.fitted(model, models.array(4, 8))

    assert models.moved(weights, model) == saved | {"inner/first/fourier/coefficients"}
    assert set(capture(model).replacements) == saved
    detach(model)
    assert models.look(model) == before


def test_biases_of_einsum_dense_are_biases() -> None:
    model = models.attached(models.attention(), "query", bias="targets")

    assert set(capture(model).replacements) == {"attend/query/bias"}


def test_the_normal_start_is_of_the_seed_and_of_all_gains_one_adapter() -> None:
    def start(**more: Any) -> bytes:
        adapter = capture(models.attached(models.functional(), "first", "second", **more))
        return b"".join(s.coefficients.tobytes() for s in adapter.entry_sets)

    assert start() == start()
    assert start(seed=6) != start()
    assert start(gain=16.0) == start()


def test_a_compiled_model_traces_its_steps_again() -> None:
    model, x = models.functional(), models.array(4, 8)
    models.compiled(model)
    y = model.predict(x, verbose=0)

    models.attached(model, "first")
    changed = model.predict(x, verbose=0)
    detach(model)

    assert not np.allclose(changed, y)
    assert np.array_equal(model.predict(x, verbose=0), y)


def test_an_inner_model_is_attached_alone_and_captured_through_the_outer_one() -> None:
    model = models.nested()
    inner = model.get_layer("inner")
    models.attached(inner, "first")
    for layer in model.layers:  # else what is trained around it would be in no adapter
        if layer is not inner:
            layer.trainable = False

    adapter = capture(model)

    assert [target.name for target in adapter.targets] == ["first"]
    with pytest.raises(UsageError, match="attached already"):
        models.attached(model, "head")
    assert detach(model) is model
    models.attached(model, "head")


def test_attaching_twice_is_an_error_that_says_to_detach() -> None:
    model = models.attached(models.functional(), "first")

    with pytest.raises(UsageError, match=r"attached already.*detach\(model\) first"):
        models.attached(model, "second")

    assert [target.name for target in capture(model).targets] == ["first"]


def test_detach_without_an_adapter_says_to_attach() -> None:
    with pytest.raises(UsageError, match=r"no adapter attached; call attach"):
        detach(models.functional())


def test_the_object_and_its_layers_stay_the_objects_that_they_are() -> None:
    model = models.attention()
    objects = {name: id(layer) for name, layer in named_layers(model).items()}
    models.attached(model, "query", "inner", "tokens")

    inside = named_layers(model)

    assert {name: id(inside[name]) for name in objects} == objects
    assert isinstance(inside["attend"], layers.MultiHeadAttention)
    assert isinstance(inside["attend/query"], layers.EinsumDense)
    assert type(inside["tokens"]).__name__ == "Embedding"


def test_quantise_and_lora_are_refused_beside_an_adapter() -> None:
    model = models.attached(models.functional(), "first")
    before = models.look(model)

    with pytest.raises(UnsupportedError, match=r"functional: .* not quantised; merge\(model\)"):
        model.quantize("int8")
    with pytest.raises(UnsupportedError, match=r"first: LoRA beside an adapter"):
        model.get_layer("first").enable_lora(2)

    assert models.look(model) == before


def test_backbones_enable_lora_is_refused_beside_an_adapter() -> None:
    backbone = models.attached(models.bert(), "query")
    before = models.look(backbone)

    with pytest.raises(UnsupportedError, match="LoRA beside an adapter"):
        backbone.enable_lora(2)

    assert models.look(backbone) == before
