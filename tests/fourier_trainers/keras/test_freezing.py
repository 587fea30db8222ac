from __future__ import annotations

from typing import Any

import keras
import pytest

from fourier_trainers.keras.freezing import freeze, thaw
from fourier_trainers.keras.naming import named_layers, named_variables
from tests.fourier_trainers.keras import models


def trainable(model: keras.Model) -> set[str]:
    return {name for name, v in named_variables(model).items() if v.trainable}


@pytest.mark.parametrize("family", ["functional", "subclassed", "images", "multi", "nested"])
def test_nothing_is_trained_but_what_is_asked_and_thawing_is_exact(family: str) -> None:
    model = models.FAMILIES[family][0]()
    before = models.look(model)
    kept = next((n, v) for n, v in named_variables(model).items() if v.trainable)

    frozen = freeze(model, {id(kept[1])})

    assert trainable(model) == {kept[0]}
    assert [v.path for v in model.trainable_variables] == [kept[1].path]
    thaw(frozen)
    assert models.look(model) == before


def test_a_layer_with_state_is_frozen_as_a_layer_unless_it_is_trained() -> None:
    model = models.images()
    norm = model.get_layer("norm")

    frozen = freeze(model, set())
    assert not norm.trainable
    thaw(frozen)
    frozen = freeze(model, {id(v) for v in norm.weights})

    assert norm.trainable
    assert trainable(model) == {"norm/gamma", "norm/beta"}, "its means are no parameters"
    thaw(frozen)


def test_what_is_trained_inside_a_layer_with_state_is_trained() -> None:
    model = models.subclassed()
    step = named_layers(model)["block/step_a"]

    frozen = freeze(model, {id(v) for v in step.weights})

    assert not model.block.trainable, "its own state is kept"
    assert step.trainable
    assert trainable(model) == {"block/step_a/kernel", "block/step_a/bias"}
    assert len(model.trainable_variables) == 2
    thaw(frozen)


def test_what_is_trained_inside_a_model_that_was_frozen_is_trained() -> None:
    model = models.nested()
    inner = model.get_layer("inner")
    inner.trainable = False
    before = models.look(model)
    last = inner.get_layer("last")

    frozen = freeze(model, {id(v) for v in last.weights})

    assert trainable(model) == {"inner/last/kernel", "inner/last/bias"}
    assert [v.path for v in model.trainable_variables] == ["last/kernel", "last/bias"]
    assert all(layer.trainable for layer in named_layers(model).values())
    thaw(frozen)
    assert models.look(model) == before


def test_a_weight_that_was_frozen_alone_is_trained_with_its_layer() -> None:
    model = models.functional()
    second = model.get_layer("second")
    second.bias.trainable = False
    before = models.look(model)

    frozen = freeze(model, {id(v) for v in second.weights})

    assert trainable(model) == {"second/kernel", "second/bias"}
    thaw(frozen)
    assert models.look(model) == before


class Holder(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A layer around another, with a state of its own."""

    def __init__(self, inner: Any) -> None:
        super().__init__(name="holder")
        self.inner = inner

    def build(self, _: Any) -> None:
        self.state = self.add_weight(name="state", shape=(), trainable=False)

    def call(self, x: Any) -> Any:
        return self.inner(x) + self.state


def test_a_layer_that_comes_before_one_with_state_that_holds_it_is_as_it_should_be() -> None:
    shared = keras.layers.Dense(8, name="shared")
    x = keras.Input((8,))
    model = keras.Model(x, Holder(shared)(shared(x)))
    shared.trainable = False
    before = models.look(model)

    frozen = freeze(model, {id(shared.bias)})

    assert not model.get_layer("holder").trainable
    assert shared.trainable
    assert trainable(model) == {"shared/bias"}
    thaw(frozen)
    assert models.look(model) == before
    assert not shared.trainable
