from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import fourier_format
from fourier_format.errors import UnsupportedError, UsageError
from fourier_trainers.keras import FourierModel, capture, detach, named_layers
from fourier_trainers.keras.naming import named_variables
from tests.fourier_trainers.keras import models
from tests.fourier_trainers.keras.test_capturing import Turns, turns

FAMILIES = sorted(models.FAMILIES)
OUTPUTS = {"functional": 6, "sequential": 6}


@pytest.mark.parametrize("name", ["a.weights.h5", "a.weights.json"])
def test_weights_after_attach_are_loaded_bit_for_bit(tmp_path: Path, name: str) -> None:
    targets = ("query", "value", "inner", "tokens")
    model, x = models.attached(models.attention(), *targets), models.ids()
    sharded = {"max_shard_size": 2e-6} if name.endswith("json") else {}

    model.save_weights(tmp_path / name, **sharded)
    fresh = models.attached(models.attention(seed=3), *targets, init="zeros")
    fresh.load_weights(tmp_path / name)

    assert len(list(tmp_path.glob("*.h5"))) == (2 if sharded else 1)
    assert models.look(fresh)[0] == models.look(model)[0]
    assert np.array_equal(models.predict(fresh, x), models.predict(model, x))


def test_a_bases_weights_are_loaded_before_attach(tmp_path: Path) -> None:
    base = models.attention()
    base.save_weights(tmp_path / "base.weights.h5")

    model = models.attention(seed=3)
    model.load_weights(tmp_path / "base.weights.h5")

    expected = capture(models.attached(base, "query"))
    assert capture(models.attached(model, "query")) is not None
    again = capture(model)
    assert fourier_format.to_bytes(again) == fourier_format.to_bytes(expected)


def test_the_base_in_an_attached_models_weights_is_the_plain_one(tmp_path: Path) -> None:
    base, model = models.attention(), models.attached(models.attention(), "query", "tokens")
    model.save_weights(tmp_path / "a.weights.h5")

    plain = models.attention(seed=3)
    plain.load_weights(tmp_path / "a.weights.h5")

    assert models.look(plain)[0] == models.look(base)[0]


BASE_FILE = "the file holds none: it is of a model without this adapter; load a base's weights bef"
OTHER_FILE = (
    "those in the file have other targets, entries, n, transform, alpha or gain; attach with"
)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (models.functional, BASE_FILE),
        (lambda: models.attached(models.functional(), "first", n=11), OTHER_FILE),
        (lambda: models.attached(models.functional(), "first", alpha=5.0), OTHER_FILE),
        (lambda: models.attached(models.functional(), "first", gain=2.0), OTHER_FILE),
        (lambda: models.attached(models.functional(), "first", seed=6), OTHER_FILE),
        (lambda: models.attached(models.functional(), "first", transform="dct2"), OTHER_FILE),
        (lambda: models.attached(models.functional(), "second"), BASE_FILE),
        (lambda: models.attached(models.functional(), "first", "second"), OTHER_FILE),
    ],
    ids=["base", "n", "alpha", "gain", "entries", "transform", "target", "more targets"],
)
def test_weights_of_another_configuration_are_an_error(
    tmp_path: Path, saved: Callable[[], Any], words: str
) -> None:
    saved().save_weights(tmp_path / "a.weights.h5")
    model = models.attached(models.functional(), "first")

    with pytest.raises(ValueError, match=words):
        model.load_weights(tmp_path / "a.weights.h5")


def trainable(model: Any) -> list[str]:
    return [name for name, variable in named_variables(model).items() if variable.trainable]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_predicts_captures_trains_on_and_detaches(
    tmp_path: Path, family: str
) -> None:
    make, targets, inputs = models.FAMILIES[family]
    x, head = inputs(), {"multi": ("head",), "images": ("head", "norm"), "bert": ("logits",)}
    model = models.attached(make(), *targets, modules_to_save=head.get(family, ()), bias="targets")
    y, adapter = models.predict(model, x), fourier_format.to_bytes(capture(model))

    wrapper = FourierModel(model)
    wrapper.save(tmp_path / "tuned.keras")
    again = keras.saving.load_model(tmp_path / "tuned.keras")

    assert np.array_equal(models.predict(wrapper, x), y)
    assert np.array_equal(models.predict(again, x), y)
    assert fourier_format.to_bytes(capture(again)) == adapter
    assert trainable(again.base) == trainable(model)
    models.fitted(again, x, OUTPUTS.get(family, 3))
    assert fourier_format.to_bytes(capture(again)) != adapter
    detach(again)
    base = {n: v.tobytes() for n, v in models.weights(make()).items()}
    kept = {n: v.tobytes() for n, v in models.weights(again.base).items()}
    assert {n for n in base if base[n] != kept[n]} <= set(
        fourier_format.from_bytes(adapter).replacements
    )
    assert np.array_equal(models.predict(model, x), y), "the saved one is as it was"


def test_a_saved_compiled_model_trains_on_where_it_stopped(tmp_path: Path) -> None:
    x, y = models.array(4, 8), models.classes(4, 6)
    model = FourierModel(models.attached(models.functional(), "first"))
    models.fitted(model, x, 6)
    model.save(tmp_path / "tuned.keras")

    again = keras.saving.load_model(tmp_path / "tuned.keras")

    assert int(again.optimizer.iterations) == 2
    for one in (model, again):
        one.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert fourier_format.to_bytes(capture(again)) == fourier_format.to_bytes(capture(model))


def test_a_wrapped_model_trains_with_dropout_as_the_model_does() -> None:
    x = models.array(64, 8)
    model = FourierModel(models.attached(models.subclassed(), "step_a"))

    noisy = keras.ops.convert_to_numpy(model(x, training=True))

    assert not np.allclose(noisy, models.predict(model, x))
    assert model._call_has_training_arg, "which fit looks for"


def test_targets_that_take_turns_take_them_after_loading(tmp_path: Path) -> None:
    model = turns(reached="unchecked")
    FourierModel(model).save(tmp_path / "tuned.keras")

    again = keras.saving.load_model(tmp_path / "tuned.keras")
    models.predict(again, models.array(2, 8))

    assert len(capture(again).targets) == 2


@keras.saving.register_keras_serializable(package=models.PACKAGE)
class Called(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model that is built by its first call alone."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.parts = {"a": layers.Dense(8, name="part"), "b": layers.Dense(3, name="last")}

    def call(self, x: Any) -> Any:
        return self.parts["b"](self.parts["a"](x))


def test_a_model_that_was_built_by_a_call_is_saved_or_says_what_is_wanted(tmp_path: Path) -> None:
    model, x = Called(name="called"), models.array(3, 8)
    model(x)
    y = models.predict(models.attached(model, "part"), x)

    FourierModel(model).save(tmp_path / "tuned.keras")

    again = keras.saving.load_model(tmp_path / "tuned.keras")
    assert np.array_equal(models.predict(again, x), y)


def test_a_model_whose_layers_are_not_there_says_what_keras_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = FourierModel(turns()).get_config()
    monkeypatch.setattr(Turns, "build_from_config", lambda *_: None)

    with pytest.raises(UnsupportedError, match=r"used: .*get_build_config\(\) and build_from_"):
        FourierModel.from_config(config)


SAYING = r"save FourierModel\(model\).*or capture\(model\).*or detach or merge first"
WAYS: dict[str, Callable[[Any, Path], Any]] = {
    "save": lambda model, path: model.save(path / "a.keras"),
    "save_model": lambda model, path: keras.saving.save_model(model, path / "a.keras"),
    "clone": lambda model, _: keras.models.clone_model(model),
    "pickle": lambda model, _: pickle.dumps(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "copy": lambda model, _: copy.copy(model),
    "json": lambda model, _: model.to_json(),
    "config": lambda model, _: model.get_config(),
    "serialize": lambda model, _: keras.saving.serialize_keras_object(model),
}
HOLDING: dict[str, Callable[[], Any]] = {
    "functional": lambda: models.attached(models.functional(), "first"),
    "sequential": lambda: models.attached(models.sequential(), "first"),
    "subclassed": lambda: models.attached(models.subclassed(), "step_a"),
    "around": lambda: around(models.attached(models.functional(), "first")),
    "attention": lambda: models.attached(models.attention(), "query"),
}


def around(inner: Any) -> Any:
    x = keras.Input((8,))
    return keras.Model(x, inner(x), name="outer")


@pytest.mark.parametrize("holding", sorted(HOLDING))
@pytest.mark.parametrize("way", sorted(WAYS))
def test_an_unwrapped_model_is_neither_saved_nor_copied(
    tmp_path: Path, holding: str, way: str
) -> None:
    model = HOLDING[holding]()
    before = models.look(model)

    with pytest.raises(UnsupportedError, match=SAYING):
        WAYS[way](model, tmp_path)

    assert models.look(model) == before


@pytest.mark.parametrize("holding", ["functional", "sequential", "subclassed", "attention"])
def test_a_refused_save_leaves_the_file_that_was_there(tmp_path: Path, holding: str) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(b"the base")

    with pytest.raises(UnsupportedError, match=SAYING):
        HOLDING[holding]().save(path)

    assert path.read_bytes() == b"the base"


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "config", "serialize"])
@pytest.mark.parametrize("name", ["attend", "inner"])
def test_nor_is_a_layer_that_holds_or_is_a_target(tmp_path: Path, name: str, way: str) -> None:
    model = models.attached(models.attention(), "query", "inner")
    (layer,) = [one for n, one in named_layers(model).items() if n.split("/")[-1] == name]

    with pytest.raises(UnsupportedError, match=rf"^{name}: .*{SAYING}"):
        WAYS[way](layer, tmp_path)


def test_a_model_without_an_adapter_is_not_wrapped() -> None:
    with pytest.raises(UsageError, match=r"no adapter is attached.*attach\(model, config\) first"):
        FourierModel(models.functional())


def test_a_detached_model_is_saved_as_ever(tmp_path: Path) -> None:
    model, x = models.attention(), models.ids()
    detach(models.attached(model, "query"))

    model.save(tmp_path / "a.keras")

    again = keras.saving.load_model(tmp_path / "a.keras")
    assert np.array_equal(models.predict(again, x), models.predict(model, x))
