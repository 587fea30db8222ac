from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import fourier_format
from fourier_format.errors import (
    BaseMismatchError,
    InvalidAdapterError,
    UnsupportedError,
    UsageError,
)
from fourier_trainers.keras import capture, merge, named_layers
from tests import tolerances
from tests.fourier_trainers.keras import models


def member(model: Any, name: str) -> Any:
    return named_layers(model)[f"{name}/fourier"]


@pytest.mark.parametrize("family", ["functional", "images", "multi", "bert"])
def test_the_adapter_and_the_base_give_what_the_model_computes(family: str) -> None:
    make, targets, inputs = models.FAMILIES[family]
    model, x = make(), inputs()
    models.attached(model, *targets)
    adapter = capture(model)

    base = make()
    for target in adapter.targets:
        layer = named_layers(base)[target.name]
        variable = layer.embeddings if target.kind == "embedding" else layer.kernel
        delta = fourier_format.delta_weight(adapter, target)  # (out, in)
        stored = tuple(variable.shape)
        if target.kind == "conv2d":
            turned = delta.reshape(stored[3], stored[2], *stored[:2]).transpose(2, 3, 1, 0)
        else:
            turned = delta.T.reshape(stored)
        variable.assign_add(turned)

    y, expected = models.predict(model, x), models.predict(base, x)
    bound = tolerances.TRAINED_OUTPUT_F32 * np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=bound)


def test_a_captured_adapter_is_valid_and_says_where_it_is_from(tmp_path: Path) -> None:
    model = models.attached(models.images(), "conv", "head", modules_to_save=("norm",))

    adapter = capture(model, metadata={"run": 3})
    fourier_format.save(adapter, tmp_path / "a.fft")

    again = fourier_format.load(tmp_path / "a.fft")
    assert [(t.name, t.kind, t.shape) for t in again.targets] == [
        ("conv", "conv2d", (6, 18)),
        ("head", "linear", (3, 54)),
    ]
    assert again.metadata == {"run": 3}
    assert again.base_model == {"name": "images"}
    assert again.target_modules == ("conv", "head")
    assert all(s.fingerprints is not None for s in again.entry_sets)


def test_coefficients_are_the_trained_ones_times_the_gain() -> None:
    model = models.attached(models.functional(), "first", init="zeros", gain=16.0)
    member(model, "first").coefficients.assign(np.arange(12) / 8)

    assert capture(model).entry_sets[0].coefficients.tolist() == [[2.0 * k for k in range(12)]]


def test_a_changed_base_is_an_error_by_name() -> None:
    model = models.attached(models.functional(), "first", "second")
    model.get_layer("second")._kernel.assign_add(np.full((12, 6), 1e-3))

    with pytest.raises(BaseMismatchError, match=r"^second: .*attach after the base is loaded"):
        capture(model)


def test_what_is_trained_beside_the_adapter_is_an_error() -> None:
    model = models.attached(models.functional(), "first")
    model.get_layer("second").bias.trainable = True

    with pytest.raises(BaseMismatchError, match=r"second/bias: .*name its layer in modules_to_sav"):
        capture(model)


def test_setting_the_model_trainable_is_seen() -> None:
    model = models.attached(models.functional(), "first")
    model.trainable = False  # TensorFlow passes over a flag that is what it was
    model.trainable = True

    with pytest.raises(BaseMismatchError, match="first/kernel: this weight of the base is trained"):
        capture(model)


def test_coefficients_that_are_not_finite_are_an_error_by_name() -> None:
    model = models.attached(models.functional(), "first", "second", modules_to_save=())
    member(model, "second").coefficients.assign(np.full(12, np.nan))

    with pytest.raises(InvalidAdapterError, match="second: 12 of 12 coefficients are not finite"):
        capture(model)


def test_a_head_that_is_not_finite_is_an_error_by_name() -> None:
    model = models.attached(models.functional(), "first", modules_to_save=("second",))
    model.get_layer("second").bias.assign(np.full(6, np.inf))

    with pytest.raises(InvalidAdapterError, match="second/bias: 6 of 6 values are not finite"):
        capture(model)


@keras.saving.register_keras_serializable(package=models.PACKAGE)
class Turns(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model that never calls one of its layers."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.used = layers.Dense(8, name="used")
        self.other = layers.Dense(8, name="other")

    def build(self, input_shape: Any) -> None:
        self.used.build(input_shape)
        self.other.build(input_shape)

    def call(self, x: Any) -> Any:
        return self.used(x)


def turns(**more: Any) -> Any:
    model = Turns(name="turns")
    model.build((None, 8))
    return models.attached(model, "used", "other", init="zeros", **more)


def test_a_target_that_the_model_never_uses_is_an_error_once_it_was_trained(
    tmp_path: Path,
) -> None:
    model = turns()
    models.predict(model, models.array(2, 8))
    model.save_weights(tmp_path / "a.weights.h5")

    with pytest.raises(UnsupportedError, match=r"other: .*reached=\"unchecked\""):
        capture(model)


def test_targets_that_take_turns_are_captured_where_that_is_said() -> None:
    model = turns(reached="unchecked")
    models.predict(model, models.array(2, 8))

    assert len(capture(model).targets) == 2


def test_a_merged_model_says_to_capture_before() -> None:
    model = merge(models.attached(models.functional(), "first"))

    with pytest.raises(UsageError, match=r"merged; capture before merge, or unmerge\(model\)"):
        capture(model)


def test_two_attached_models_in_one_ask_which() -> None:
    one, two = models.functional(), models.sequential()
    x = keras.Input((8,))
    both = keras.Model(x, [one(x), two(x)])
    models.attached(one, "first")
    models.attached(two, "first")

    with pytest.raises(UsageError, match="several attached models; give one of them"):
        capture(both)
    assert len(capture(one).targets) == 1
