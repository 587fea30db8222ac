"""Models around an attached one, and parts of it: nothing stale, lost, or added twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from fourier_format.adapter import Array
from fourier_format.errors import (
    BaseMismatchError,
    InvalidAdapterError,
    UnsupportedError,
    UsageError,
)
from fourier_trainers.keras import (
    AdapterCallback,
    FourierConfig,
    FourierModel,
    attach,
    capture,
    detach,
    export_base,
    merge,
    unmerge,
)
from tests.tolerances import TRAINED_OUTPUT_F32

X = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)


def nested() -> tuple[Any, Any]:
    """Return a backbone, and a model with a head around it."""
    inner = keras.Input((5,))
    backbone = keras.Model(inner, layers.Dense(4, name="first")(inner), name="backbone")
    outer = keras.Input((5,))
    return backbone, keras.Model(outer, layers.Dense(2, name="head")(backbone(outer)))


def config(**given: Any) -> FourierConfig:
    return FourierConfig(target_modules=("first",), n=5, init="normal", alpha=20.0, **given)


def predicted(model: Any) -> Array:
    found: Array = model.predict(X, verbose=0)
    return found


def error(got: Array, expected: Array) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def test_a_model_around_computes_what_is_so_after_each_step() -> None:
    """Its compiled functions hold what the model inside was."""
    backbone, outer = nested()
    attach(backbone, config())
    adapted = predicted(outer)

    merge(outer)
    assert error(predicted(outer), adapted) < TRAINED_OUTPUT_F32
    unmerge(outer)
    assert np.array_equal(predicted(outer), adapted)
    detach(outer)
    assert error(predicted(outer), adapted) > TRAINED_OUTPUT_F32


def test_a_wrapper_computes_what_is_so_after_detach() -> None:
    _, outer = nested()
    base = predicted(outer)
    attach(outer, config())
    wrapper = FourierModel(outer)
    assert error(predicted(wrapper), base) > TRAINED_OUTPUT_F32

    detach(wrapper)

    assert np.array_equal(predicted(wrapper), base)


def test_a_head_around_that_is_trained_is_not_left_out(tmp_path: Path) -> None:
    backbone, outer = nested()
    attach(backbone, config())
    outer.compile("adam", loss="mse")

    with pytest.raises(BaseMismatchError, match=r"head/kernel: .*attach to the whole model"):
        capture(outer)
    with pytest.raises(BaseMismatchError, match="head/kernel"):
        outer.fit(
            X,
            np.zeros((8, 2)),
            verbose=0,
            callbacks=[AdapterCallback(tmp_path / "adapter.fft", monitor=None)],
        )

    outer.get_layer("head").trainable = False
    assert capture(outer).replacements == {}


def test_a_part_of_an_attached_model_is_no_base(tmp_path: Path) -> None:
    _, outer = nested()
    attach(outer, config())
    part = outer.get_layer("backbone")

    for refused in (
        lambda: export_base(part, tmp_path / "base.onnx"),
        lambda: attach(part, config()),
    ):
        with pytest.raises(UsageError, match="a part of a model that an adapter is attached to"):
            refused()

    assert not list(tmp_path.iterdir())


def test_a_loaded_model_knows_the_head_that_its_base_had(tmp_path: Path) -> None:
    _, outer = nested()
    base = predicted(outer)
    attach(outer, config(modules_to_save=("head",)))
    outer.get_layer("head").kernel.assign(np.ones((4, 2)))
    FourierModel(outer).save(tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras")
    detach(loaded)

    assert np.array_equal(predicted(loaded), base)


def test_a_wrapper_that_cannot_be_saved_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    _, outer = nested()
    attach(outer, config(modules_to_save=("head",)))
    wrapper, file = FourierModel(outer), tmp_path / "model.keras"
    wrapper.save(file)
    before = file.read_bytes()
    outer.get_layer("head").bias.assign(np.full(2, np.nan))

    with pytest.raises(Exception, match="not finite"):
        wrapper.save(file)

    assert file.read_bytes() == before


def test_exporting_within_fit_goes_on(tmp_path: Path) -> None:
    """And on torch the model's parameters still hold the coefficients."""
    _, outer = nested()
    attach(outer, config(modules_to_save=("head",)))
    outer.compile("adam", loss="mse")
    count = len(list(outer.parameters())) if hasattr(outer, "parameters") else 0
    base = tmp_path / "base.onnx"
    each = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: export_base(outer, base, overwrite=True)
    )

    history = outer.fit(X, np.zeros((8, 2)), epochs=2, verbose=0, callbacks=[each])

    assert len(history.history["loss"]) == 2
    if hasattr(outer, "parameters"):
        assert len(list(outer.parameters())) == count


@pytest.mark.parametrize("path", ["weight", "activation"])
@pytest.mark.parametrize("equation", ["ab...,bc->ac...", "...b,bc->...c"])
def test_an_ellipsis_stands_for_the_axes_that_it_stands_for(equation: str, path: Any) -> None:
    model = keras.Sequential(
        [keras.Input((5, 5)), layers.EinsumDense(equation, (5, 5), name="first")]
    )
    attach(model, config(path=path))
    x = np.random.default_rng(1).standard_normal((3, 5, 5)).astype(np.float32)
    adapted = keras.ops.convert_to_numpy(model(x))

    merge(model)

    assert error(adapted, keras.ops.convert_to_numpy(model(x))) < TRAINED_OUTPUT_F32


@keras.saving.register_keras_serializable("fourier-tests")
class Scaled(layers.Dense):  # type: ignore[misc]  # Keras has no types
    """Has a kernel that is not the one that it stores."""

    @property
    def kernel(self) -> Any:
        """Three times what is stored."""
        return 3.0 * super().kernel


@keras.saving.register_keras_serializable("fourier-tests")
class Musical(layers.Dense):  # type: ignore[misc]  # Keras has no types
    """Has an attribute of the name that coefficients have."""

    fourier = "Joseph"


@pytest.mark.parametrize(
    ("cls", "problem"),
    [(Scaled, "a kernel of its own"), (Musical, "an attribute 'fourier' of its own")],
)
def test_layers_with_something_of_the_same_name_are_refused(cls: Any, problem: str) -> None:
    model = keras.Sequential([keras.Input((5,)), cls(4, name="first")])
    before = predicted(model)

    with pytest.raises(UnsupportedError, match=problem):
        attach(model, config())

    assert np.array_equal(predicted(model), before)


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_mean_io_u", "max"), ("val_loss", "min"), ("val_mean_absolute_error", "min")],
)
def test_the_mode_is_what_the_name_says(monitor: str, mode: str, tmp_path: Path) -> None:
    callback = AdapterCallback(tmp_path / "a.fft", monitor=monitor)

    assert callback._sign == (1 if mode == "max" else -1)


def test_a_name_that_does_not_say_the_mode_wants_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="val_score"):
        AdapterCallback(tmp_path / "a.fft", monitor="val_score")


def test_mixed_precision_adds_to_the_weight_as_it_is_stored() -> None:
    """1.003 + 0.002 is 1.0078 in bfloat16; rounded twice, it would be 1."""
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="int32"),
            layers.Embedding(4, 3, name="first", dtype="mixed_bfloat16"),
        ]
    )
    model.layers[0].embeddings.assign(np.full((4, 3), 1.003))
    attach(model, FourierConfig(target_modules=("first",), n=1, alpha=12.0, path="weight"))
    site = model.layers[0]
    site.fourier.coefficients.assign(np.array([0.002], np.float32))
    got = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(model(np.array([[1]])), "float32")))

    merge(model)

    merged = keras.ops.convert_to_numpy(keras.ops.cast(model(np.array([[1]])), "float32"))
    assert np.array_equal(got, merged)


def test_models_that_nobody_hands_over_are_traced_again() -> None:
    """On TensorFlow they would go on computing what was so when they first ran."""
    backbone, outer = nested()
    base, feature = predicted(outer), predicted(backbone)

    attach(backbone, config())
    adapted = predicted(outer)
    assert error(adapted, base) > TRAINED_OUTPUT_F32
    merge(backbone)
    assert error(predicted(outer), adapted) < TRAINED_OUTPUT_F32
    unmerge(backbone)
    assert np.array_equal(predicted(outer), adapted)
    detach(backbone)
    assert np.array_equal(predicted(outer), base)

    attach(outer, config())  # and a model inside, that ran by itself
    assert error(predicted(backbone), feature) > TRAINED_OUTPUT_F32


def test_weights_that_are_loaded_after_attach_are_the_base(tmp_path: Path) -> None:
    """A run that is resumed in another process has a base of other numbers until then."""
    _, outer = nested()
    attach(outer, config())
    outer.save_weights(tmp_path / "all.weights.h5")
    expected = capture(outer)
    _, other = nested()
    attach(other, config())

    other.load_weights(tmp_path / "all.weights.h5")

    assert np.array_equal(predicted(other), predicted(outer))
    sets = zip(capture(other).entry_sets, expected.entry_sets, strict=True)
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in sets)
    other.get_layer("backbone").get_layer("first").bias.assign(np.ones(4))
    capture(other)
    other.get_layer("backbone").get_layer("first")._kernel.assign(np.ones((5, 4)))
    with pytest.raises(BaseMismatchError, match="backbone/first"):
        capture(other)


def test_merged_weights_that_were_changed_are_not_put_back(tmp_path: Path) -> None:
    backbone, _ = nested()
    attach(backbone, config())
    merge(backbone)
    backbone.get_layer("first").kernel.assign(np.ones((5, 4)))

    with pytest.raises(BaseMismatchError, match="first: its weight was changed while"):
        unmerge(backbone)


def test_coefficients_that_are_not_finite_are_not_merged() -> None:
    backbone, _ = nested()
    attach(backbone, config())
    backbone.get_layer("first").fourier.coefficients.assign(np.full(5, np.nan, np.float32))

    with pytest.raises(InvalidAdapterError, match="first: coefficients are not finite"):
        merge(backbone)

    assert np.isfinite(keras.ops.convert_to_numpy(backbone.get_layer("first")._kernel)).all()


def test_a_run_that_trains_nothing_of_the_adapter_is_refused(tmp_path: Path) -> None:
    backbone, _ = nested()
    attach(backbone, config())
    backbone.compile("adam", loss="mse")
    backbone.trainable = False

    callback = AdapterCallback(tmp_path / "adapter.fft", monitor=None)
    callback.set_model(backbone)

    with pytest.raises(UsageError, match="no coefficient of the adapter is trained"):
        callback.on_train_begin()
