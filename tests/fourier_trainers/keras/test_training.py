from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_trainers.keras import capture, detach, merge, unmerge
from tests import tolerances
from tests.fourier_trainers.keras import models

RATE = 0.5
ROWS = 8


@pytest.fixture
def policy() -> Iterator[Any]:
    """Sets the policy that new layers take, and puts the usual one back."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def attached() -> Any:
    model = models.attention()
    return models.attached(model, "query", "value", "inner", "tokens", modules_to_save=("head",))


def coefficients(model: Any) -> Array:
    return np.concatenate([s.coefficients.ravel() for s in capture(model).entry_sets])


def trained(*, epochs: int = 2, batch: int = 4, shuffle: bool = False, **more: Any) -> Array:
    model = attached()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(RATE, **more.pop("optimizer", {}))
    model.compile(optimizer, loss, **more)
    x, y = models.ids(ROWS), models.classes(ROWS, 3)
    model.fit(x, y, batch_size=batch, epochs=epochs, shuffle=shuffle, verbose=0)
    return coefficients(model)


def assert_near(found: Array, expected: Array) -> None:
    assert np.abs(expected - coefficients(attached())).max() > 0.01, "nothing was trained"
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerances.KERAS_STEPS_F32 * scale)


@pytest.fixture(scope="module")
def eager() -> Array:
    """Returns the coefficients after four steps, one operation after the other."""
    return trained(run_eagerly=True)


@pytest.mark.parametrize("jit", [True, False])
def test_compiled_steps_train_as_eager_ones(eager: Array, jit: bool) -> None:
    if models.BACKEND == "torch":
        jit = False  # torch.compile wants a compiler of C++, and is tested with the torch trainer
    assert_near(trained(jit_compile=jit), eager)


def test_several_steps_an_execution_train_as_one(eager: Array) -> None:
    several: dict[str, Any] = (
        {} if models.BACKEND == "torch" else {"steps_per_execution": 2}
    )  # it has none

    assert_near(trained(jit_compile=False, **several), eager)


def test_accumulated_gradients_train_as_larger_batches() -> None:
    large = trained(run_eagerly=True, batch=8)

    found = trained(jit_compile=False, batch=4, optimizer={"gradient_accumulation_steps": 2})

    assert_near(found, large)


def custom_step(model: Any, x: Array, y: Array) -> None:
    """One step of SGD as each backend's users write it."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if models.BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        variables = model.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
            variable.assign_sub(RATE * tf.convert_to_tensor(gradient))
    elif models.BACKEND == "jax":
        import jax

        def compute(trained: Any, rest: Any) -> Any:
            outputs, rest = model.stateless_call(trained, rest, x, training=True)
            return loss(y, outputs), rest

        state = [v.value for v in model.trainable_variables]
        rest = [v.value for v in model.non_trainable_variables]
        gradients, _ = jax.jit(jax.grad(compute, has_aux=True))(state, rest)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign(variable.value - RATE * gradient)
    else:
        import torch

        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=RATE)
        loss(y, model(x, training=True)).backward()
        optimizer.step()


def test_a_loop_of_ones_own_trains_as_fit() -> None:
    expected = trained(run_eagerly=models.BACKEND != "jax", epochs=1, batch=ROWS)
    model = attached()

    custom_step(model, models.ids(ROWS), models.classes(ROWS, 3))

    assert_near(coefficients(model), expected)


if models.BACKEND == "torch":

    def test_parameters_of_the_module_are_those_of_the_adapter_while_it_is_on() -> None:
        model = models.attention()

        def parameters() -> list[str]:
            return sorted(n for n, p in model.named_parameters() if p.requires_grad)

        before = parameters()
        models.attached(model, "query", "inner", modules_to_save=("head",))
        assert len(parameters()) == 4
        assert sum("fourier" in name for name in parameters()) == 2
        models.fitted(model, models.ids())
        assert len(parameters()) == 4
        assert len(list(merge(model).parameters())) == len(model.weights)
        assert len([n for n in parameters() if "fourier" in n]) == 0
        unmerge(model)
        assert len(parameters()) == 4
        detach(model)
        assert parameters() == before


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_coefficients_stay_float32_under_mixed_precision_and_are_trained(
    name: str, policy: Any
) -> None:
    policy(name)
    model = models.attached(models.nested(), "inner/first", "inner/last", modules_to_save=("head",))
    weights = models.weights(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, jit_compile=models.BACKEND == "jax")
    x, y = models.array(ROWS, 8), models.classes(ROWS, 3)

    history = model.fit(x, y, batch_size=4, epochs=6, verbose=0).history["loss"]

    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        name == "mixed_float16"
    )
    assert model.get_layer("head").compute_dtype == name.removeprefix("mixed_")
    members = {n for n in models.moved(weights, model) if n.endswith("fourier/coefficients")}
    assert len(members) == len(capture(model).targets)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert history[-1] < history[0]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_base_in_half_precision_keeps_its_bits_and_trains_float32(name: str, policy: Any) -> None:
    policy(name)
    model = models.functional()
    x = models.array(4, 8)
    before = models.look(model)

    models.attached(model, "first", "second", init="zeros")
    model.compile("sgd", "mse", run_eagerly=models.BACKEND != "jax")
    model.fit(x, np.ones((4, 6), np.float32), verbose=0)

    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    prints = capture(model).entry_sets[0].fingerprints
    assert prints is not None
    assert prints.dtype == {"float16": "F16", "bfloat16": "BF16"}[name]
    detach(model)
    assert models.look(model) == before


def test_gain_multiplies_the_step_of_one_rate() -> None:
    def step(gain: float) -> Array:
        model = models.attached(models.functional(), "first", init="zeros", gain=gain)
        adam = keras.optimizers.Adam(1e-3, epsilon=1e-12)  # which gradients near it would feel
        model.compile(adam, "mse", run_eagerly=models.BACKEND != "jax")
        model.fit(models.array(4, 8), np.ones((4, 6), np.float32), verbose=0)
        return coefficients(model)

    np.testing.assert_allclose(step(64.0), 64 * step(1.0), rtol=1e-5)


@pytest.mark.parametrize("path", ["weight", "activation"])
def test_both_ways_of_computing_train_alike(path: str, eager: Array) -> None:
    model = models.attention()
    models.attached(
        model, "query", "value", "inner", "tokens", modules_to_save=("head",), path=path
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss, run_eagerly=models.BACKEND != "jax")
    x, y = models.ids(ROWS), models.classes(ROWS, 3)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)

    assert_near(coefficients(model), eager)


def test_fit_while_merged_moves_no_target() -> None:
    model = models.attached(models.functional(), "first", modules_to_save=("second",))
    before = capture(model)
    merge(model)
    models.fitted(model, models.array(4, 8), 6)
    unmerge(model)

    assert np.array_equal(before.entry_sets[0].coefficients, coefficients(model)[None])
    head = capture(model).replacements["second/kernel"]
    assert not np.array_equal(head, before.replacements["second/kernel"])
