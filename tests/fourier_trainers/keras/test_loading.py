from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import fourier_format
from fourier_format.adapter import Adapter
from fourier_format.errors import (
    BaseMismatchError,
    FileAccessError,
    FourierFormatError,
    TargetNotFoundError,
    UnsupportedError,
    UsageError,
)
from fourier_format.fingerprint import positions, without_fingerprints
from fourier_trainers.keras import capture, detach, load_adapter, named_layers
from tests.fourier_trainers.keras import models

TARGETS = ("query", "value", "inner", "tokens")


def trained(**more: Any) -> Any:
    model = models.attached(models.attention(), *TARGETS, modules_to_save=("head",), **more)
    model.get_layer("head").bias.assign([1.0, -2.0, 3.0])
    return model


@pytest.mark.parametrize("suffix", ["fft", "fft.h5"])
def test_a_file_on_a_fresh_base_gives_the_same_outputs_bit_for_bit(
    tmp_path: Path, suffix: str
) -> None:
    model, x = trained(), models.ids()
    fourier_format.save(capture(model), tmp_path / f"a.{suffix}")

    fresh = load_adapter(models.attention(), tmp_path / f"a.{suffix}")

    assert np.array_equal(models.predict(fresh, x), models.predict(model, x))


@pytest.mark.parametrize("family", sorted(models.FAMILIES))
def test_what_is_loaded_is_captured_again_byte_for_byte(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, targets, _ = models.FAMILIES[family]
    adapter = capture(models.attached(make(), *targets, bias="all"), metadata={"a": [1]})

    again = capture(load_adapter(make(), adapter))

    assert fourier_format.to_bytes(again) == fourier_format.to_bytes(adapter)
    assert not capsys.readouterr().err, "no name had to be found"


@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_training_goes_on_from_an_adapter(gain: float) -> None:
    adapter = capture(trained())
    model = load_adapter(models.attention(), adapter, gain=gain)

    models.fitted(model, models.ids())

    after = capture(model)
    for old, new in zip(adapter.entry_sets, after.entry_sets, strict=True):
        assert np.array_equal(old.entries, new.entries)
        assert not np.array_equal(old.coefficients, new.coefficients)
    assert not np.array_equal(
        adapter.replacements["head/kernel"], after.replacements["head/kernel"]
    )


def test_detach_after_load_gives_the_base_and_its_own_head() -> None:
    model = models.attention()
    before = models.look(model)

    load_adapter(model, capture(trained()))
    assert models.weights(model)["head/bias"].tolist() == [1.0, -2.0, 3.0]
    detach(model)

    assert models.look(model) == before


def numbered(seed: int = 0) -> Any:
    """Returns three Dense layers that Keras names, all of one shape."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((8,))
    y = layers.Dense(8, activation="tanh")(x)
    y = layers.Dense(8)(y)
    return keras.Model(x, layers.Dense(8)(y))


def names_of(model: Any) -> list[str]:
    return [name for name in named_layers(model) if name.startswith("dense")]


def of_numbered() -> tuple[Adapter, list[str], Any]:
    keras.backend.clear_session()
    model = numbered()
    names = names_of(model)
    models.attached(model, *names[:2], modules_to_save=(names[2],))
    model.get_layer(names[2]).bias.assign_add(np.ones(8))
    return capture(model), names, models.predict(model, models.array(3, 8))


def test_layers_with_other_numbers_are_found_by_fingerprint_and_the_map_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter, names, y = of_numbered()
    model = numbered()
    here = names_of(model)
    assert not set(here) & set(names)

    load_adapter(
        model,
        adapter,
        replacements={f"{names[2]}/{leaf}": f"{here[2]}/{leaf}" for leaf in ("kernel", "bias")},
    )

    assert np.array_equal(models.predict(model, models.array(3, 8)), y)
    printed = capsys.readouterr()
    assert not printed.out
    lines = [line.split() for line in printed.err.splitlines()[1:]]
    assert lines == [[names[0], "->", here[0]], [names[1], "->", here[1]]]
    assert [target.name for target in capture(model).targets] == here[:2]


def test_names_that_are_other_layers_are_found_by_fingerprint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter, _, _ = of_numbered()
    keras.backend.clear_session()
    layers.Dense(1)  # so that numbers begin one later
    model = numbered()
    before = models.look(model)

    with pytest.raises(
        TargetNotFoundError, match=r"dense_2/kernel: Keras numbered this layer"
    ) as e:
        load_adapter(model, adapter)

    assert {v.code for v in e.value.violations} == {"E-REPLACEMENT-NOT-FOUND"}
    assert "replacements={adapter's name: model's name}" in str(e.value)
    assert models.look(model) == before
    load_adapter(model, adapter, replacements={})
    assert [t.name for t in capture(model).targets] == ["dense_1", "dense_2"]
    assert "dense_1 -> dense_2" in capsys.readouterr().err


def test_a_head_with_a_name_is_found_beside_layers_with_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def model() -> Any:
        keras.utils.set_random_seed(0)
        x = keras.Input((8,))
        return keras.Model(x, layers.Dense(3, name="logits")(layers.Dense(8)(x)))

    one = model()
    adapter = capture(models.attached(one, names_of(one)[0], modules_to_save=("logits",)))

    again = load_adapter(model(), adapter)

    assert list(capture(again).replacements) == ["logits/kernel", "logits/bias"]
    assert "->" in capsys.readouterr().err


def test_a_torch_heads_weight_becomes_a_kernel() -> None:
    adapter = capture(trained())
    kernel, bias = adapter.replacements["head/kernel"] + 1, adapter.replacements["head/bias"]
    torchs = replace(adapter, replacements={"classifier.weight": kernel.T, "classifier.bias": bias})

    model = load_adapter(
        models.attention(),
        torchs,
        replacements={"classifier.weight": "head/kernel", "classifier.bias": "head/bias"},
    )

    assert np.array_equal(models.weights(model)["head/kernel"], kernel)
    assert set(capture(model).replacements) == {"head/kernel", "head/bias"}


def test_no_replacements_leaves_the_head_alone() -> None:
    model = load_adapter(models.attention(), capture(trained()), replacements={})

    assert not capture(model).replacements
    head = model.get_layer("head")
    assert not any(v.trainable for v in head.weights)
    assert np.array_equal(models.weights(model)["head/bias"], np.zeros(3))


def twins() -> Any:
    model = numbered()
    first, second = (model.get_layer(name) for name in names_of(model)[:2])
    first.kernel.assign(second.kernel)
    return model


def of_twins() -> Adapter:
    model = twins()
    return capture(models.attached(model, names_of(model)[0]))


def unbuilt() -> Any:
    return keras.Sequential([layers.Dense(8, name="first")], name="unbuilt")


def quantised() -> Any:
    model = models.functional()
    model.get_layer("first").quantize("int8")
    return model


def with_lora() -> Any:
    model = models.functional()
    model.get_layer("first").enable_lora(2)
    return model


def other_shape() -> Any:
    x = keras.Input((9,))
    return keras.Model(x, layers.Dense(12, name="first")(x))


def other_kind() -> Any:
    x = keras.Input((4, 4, 2))
    return keras.Model(x, layers.Conv2D(12, 2, name="first")(x))


def simple(**more: Any) -> Adapter:
    return capture(models.attached(models.functional(), "first", **more))


def with_head() -> Adapter:
    return simple(modules_to_save=("second",))


def other_between_the_samples() -> Any:
    model = models.functional()
    matrix = models.weights(model)["first/kernel"].T  # (out, in)
    values = np.full(matrix.shape, 9, np.float32)
    values.flat[positions((12, 8))] = matrix.flat[positions((12, 8))]
    model.get_layer("first").kernel.assign(values.T)
    return model


FAILING: dict[str, tuple[Any, Any, dict[str, Any], type[FourierFormatError], str, str]] = {
    "another base": (
        lambda: models.functional(seed=1),
        simple,
        {},
        BaseMismatchError,
        "E-BASE-MISMATCH",
        r"^first: its base weight is not the one .*; load the weights that it was trained on",
    ),
    "another base between the samples": (
        other_between_the_samples,
        simple,
        {},
        BaseMismatchError,
        "E-BASE-MISMATCH",
        r"^first: its base weight is not the one .*got a norm of .*not a fine-tune of them",
    ),
    "another shape": (
        other_shape,
        simple,
        {},
        BaseMismatchError,
        "E-BASE-MISMATCH",
        r"^first: its weight has another shape \(got 12x9, expected 12x8\)",
    ),
    "another kind": (
        other_kind,
        simple,
        {},
        BaseMismatchError,
        "E-BASE-MISMATCH",
        r"^first: another kind of layer \(got conv2d, expected linear\)",
    ),
    "another model": (
        models.attention,
        simple,
        {},
        TargetNotFoundError,
        "E-TARGET-NOT-FOUND",
        r"^first: no layer of the model has the weight .*linear 12x8\); load the base",
    ),
    "several layers": (
        twins,
        of_twins,
        {},
        TargetNotFoundError,
        "E-TARGET-AMBIGUOUS",
        r": several layers of the model have the weight .*got dense\w*, dense",
    ),
    "no fingerprints": (
        models.attention,
        lambda: without_fingerprints(simple()),
        {},
        TargetNotFoundError,
        "E-TARGET-NOT-FOUND",
        r"^first: no layer of the model has this name, and the adapter has no fingerprint",
    ),
    "never built": (
        unbuilt,
        simple,
        {},
        UnsupportedError,
        "E-BASE-UNSUPPORTED",
        r"^unbuilt: it was never built, .*call the model once",
    ),
    "quantised": (quantised, simple, {}, UnsupportedError, "E-BASE-UNSUPPORTED", "^first: .*int8"),
    "lora": (with_lora, simple, {}, UnsupportedError, "E-BASE-UNSUPPORTED", "^first: .*LoRA"),
    "no such file": (
        models.functional,
        lambda: "nowhere.fft",
        {},
        FileAccessError,
        "E-IO",
        r"^nowhere.fft: cannot read the file",
    ),
    "no head": (
        models.sequential,
        lambda: replace(with_head(), replacements={"logits/kernel": np.ones((12, 3), "f4")}),
        {},
        TargetNotFoundError,
        "E-REPLACEMENT-NOT-FOUND",
        r"^logits/kernel: the model has no weight that this replaces.*or replacements=\{\} to go",
    ),
    "a head of another shape": (
        models.functional,
        with_head,
        {"replacements": {"second/kernel": "second/bias"}},
        BaseMismatchError,
        "E-REPLACEMENT-SHAPE",
        r"^second/bias: the model's weight has another shape \(got \(6,\), expected \(12, 6\)\)",
    ),
    "an unknown head": (
        models.functional,
        with_head,
        {"replacements": {"third/kernel": "second/kernel"}},
        UsageError,
        "E-USAGE",
        r"replaces no weight of this name \(got third/kernel, expected one of: second/kernel",
    ),
    "a head onto a target": (
        models.functional,
        lambda: replace(with_head(), replacements={"a.weight": np.ones((12, 8), "f4")}),
        {"replacements": {"a.weight": "first/kernel"}},
        BaseMismatchError,
        "E-BASE-MISMATCH",
        r"^first/kernel: this weight is adapted, and would be replaced",
    ),
    "attached already": (
        lambda: models.attached(models.functional(), "second"),
        simple,
        {},
        UsageError,
        "E-USAGE",
        r"attached already; detach\(model\) first",
    ),
}


@pytest.mark.parametrize("case", sorted(FAILING))
def test_what_does_not_fit_is_an_error_that_says_so_and_the_model_is_unchanged(case: str) -> None:
    make, adapter, more, error, code, words = FAILING[case]
    given, model = adapter(), make()
    before = models.look(model)

    with pytest.raises(error, match=words) as caught:
        load_adapter(model, given, **more)

    assert {v.code for v in caught.value.violations} == {code}
    assert models.look(model) == before


def test_an_adapter_without_fingerprints_goes_by_its_names() -> None:
    model = trained()

    fresh = load_adapter(models.attention(), without_fingerprints(capture(model)))

    x = models.ids()
    assert np.array_equal(models.predict(fresh, x), models.predict(model, x))


def test_a_dense_stands_for_an_einsum_dense_of_the_same_matrix(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def model(layer: Any) -> Any:
        keras.utils.set_random_seed(4)
        x = keras.Input((5, 8))
        return keras.Model(x, layer(x))

    einsum = model(layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 4), name="heads"))
    dense = model(layers.Dense(12, use_bias=False, name="flat"))
    dense.get_layer("flat").kernel.assign(models.weights(einsum)["heads/kernel"].reshape(8, 12))
    x = models.array(2, 5, 8)
    models.attached(einsum, "heads")

    load_adapter(dense, capture(einsum))

    y = models.predict(einsum, x).reshape(2, 5, 12)
    np.testing.assert_allclose(models.predict(dense, x), y, rtol=0, atol=1e-5 * np.abs(y).max())
    assert "heads -> flat" in capsys.readouterr().err
