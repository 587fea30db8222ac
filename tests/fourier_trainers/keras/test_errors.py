from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from fourier_format.adapter import Adapter
from fourier_format.codes import CODES
from fourier_format.errors import FourierFormatError
from fourier_format.fingerprint import without_fingerprints
from fourier_trainers.keras import (
    FourierConfig,
    attach,
    capture,
    detach,
    load_adapter,
    named_layers,
)
from fourier_trainers.keras.selecting import select
from tests.fourier_trainers.keras import models

EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True)


def awkward() -> Any:
    """Returns a model with much that cannot be adapted, and some that can."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 6))
    y = layers.Dense(6, name="plain")(x)
    y = layers.Dense(6, kernel_constraint="max_norm", name="constrained")(y)
    y = layers.Dense(6, name="quantised")(y)
    y = layers.EinsumDense("abc,bcd->abd", output_shape=(4, 6), name="each")(y)
    y = layers.Conv1D(6, 2, padding="same", name="conv1d")(y)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(y)
    y = layers.BatchNormalization(name="norm")(y)
    model = keras.Model(x, layers.Dense(3, name="head")(y), name="awkward")
    model.get_layer("quantised").quantize("int8")
    model.get_layer("conv1d").trainable = False
    model.get_layer("head").bias.trainable = False
    return model


MAKERS: dict[str, Callable[[], Any]] = {
    "awkward": awkward,
    "attention": models.attention,
    "subclassed": models.subclassed,
    "nested": models.nested,
    "images": models.images,
}


@cache
def shared(name: str) -> Any:
    """Returns a model that all examples take: each leaves it as it was, or one says so."""
    return MAKERS[name]()


@cache
def words(name: str) -> list[str]:
    parts = [part for n in named_layers(shared(name)) for part in (n, n.split("/")[-1])]
    return [*dict.fromkeys(parts), "nowhere", "quary"]


FLAWS: dict[str, dict[str, Any]] = {
    "none": {},
    "size": {"n": 5000},
    "scale": {"alpha": 0.0},
    "pattern": {"n_pattern": {"nowhere": 2}},
    "transform": {"transform": "dwt2:nothing"},
    "saved": {"modules_to_save": ("nowhere",)},
}
GOOD = {
    "awkward": ("plain", "head"),
    "attention": ("query", "inner", "tokens", "head"),
    "subclassed": ("step_a", "gate_out", "head"),
    "nested": ("inner/first", "last", "head"),
    "images": ("conv", "grouped", "head"),
}


@st.composite
def configurations(draw: st.DrawFn, name: str) -> FourierConfig:
    """Draws configurations of which about one in three can be attached."""
    good = st.lists(st.sampled_from(GOOD[name]), min_size=1, max_size=3, unique=True)
    any_ = st.lists(st.sampled_from(words(name)), min_size=1, max_size=3, unique=True)
    expression = st.sampled_from(["all-linear", ".*", "[", ".*e.*", "head|plain", "query"])
    wanted = draw(st.one_of(good, good, any_, expression))
    saved = st.lists(st.sampled_from(["norm", "head", *words(name)]), max_size=2, unique=True)
    flaw = FLAWS[draw(st.sampled_from(["none", "none", *FLAWS]))]
    usual: dict[str, Any] = {
        "n": draw(st.sampled_from([1, 4, 15])),
        "transform": draw(st.sampled_from(["dft2", "dct2", "dwt2:db2"])),
        "init": draw(st.sampled_from(["zeros", "normal"])),
        "modules_to_save": tuple(draw(st.one_of(st.just([]), saved))),
        "bias": draw(st.sampled_from(["none", "targets", "all"])),
    }
    chosen = wanted if isinstance(wanted, str) else tuple(wanted)
    return FourierConfig(target_modules=chosen, **(usual | flaw))


def tally(error: FourierFormatError) -> None:
    """Each violation has a code of the registry and words."""
    assert error.violations
    for violation in error.violations:
        assert violation.code in CODES
        assert violation.where
        assert violation.problem


def test_examples_of_both_outcomes_are_drawn() -> None:
    outcomes: dict[str, set[bool]] = {}

    @settings(EXAMPLES, max_examples=60)
    @given(st.data(), st.sampled_from(sorted(MAKERS)))
    def draw(data: st.DataObject, name: str) -> None:
        try:
            select(shared(name), data.draw(configurations(name)))
        except FourierFormatError:
            outcomes.setdefault(name, set()).add(False)
        else:
            outcomes.setdefault(name, set()).add(True)

    draw()
    assert outcomes == {name: {True, False} for name in MAKERS}


@EXAMPLES
@given(st.data(), st.sampled_from(sorted(MAKERS)))
def test_attach_changes_nothing_where_it_fails_and_detach_all_where_it_does_not(
    data: st.DataObject, name: str
) -> None:
    model = shared(name)
    config = data.draw(configurations(name))
    before = models.look(model)

    try:
        attach(model, config)
    except FourierFormatError as error:
        tally(error)
    else:
        assert models.look(model) != before
        detach(model)

    assert models.look(model) == before


@cache
def adapter_of(name: str) -> Adapter:
    model = MAKERS[name]()
    wanted = {"awkward": ("plain",), "attention": ("query", "inner"), "images": ("conv",)}
    targets = wanted.get(name, ("head",))
    saved = ("norm",) if name in {"awkward", "images"} else ()
    return capture(models.attached(model, *targets, n=10, modules_to_save=saved))


def renamed(adapter: Adapter, to: str) -> Adapter:
    first, *rest = adapter.targets
    return replace(adapter, targets=(replace(first, name=to), *rest))


def reshaped(adapter: Adapter, _: str) -> Adapter:
    heads = {name: np.zeros((3, 1), np.float32) for name in adapter.replacements}
    return replace(adapter, replacements=heads or {"nowhere/kernel": np.zeros(2, np.float32)})


SPOILT: dict[str, Callable[[Adapter, str], Adapter]] = {
    "not": lambda adapter, _: adapter,
    "renamed": renamed,
    "without fingerprints": lambda adapter, _: without_fingerprints(adapter),
    "both": lambda adapter, to: renamed(without_fingerprints(adapter), to),
    "reshaped": reshaped,
}


@EXAMPLES
@given(
    st.data(),
    st.sampled_from(sorted(MAKERS)),
    st.sampled_from(sorted(MAKERS)),
    st.sampled_from(sorted(SPOILT)),
)
def test_load_adapter_changes_nothing_where_it_fails_and_detach_all_where_it_does_not(
    data: st.DataObject, name: str, other: str, spoilt: str
) -> None:
    model = shared(name)
    adapter = SPOILT[spoilt](adapter_of(other), data.draw(st.sampled_from(words(name))))
    before = models.look(model)

    try:
        load_adapter(model, adapter)
    except FourierFormatError as error:
        tally(error)
    else:
        assert models.look(model) != before
        detach(model)

    assert models.look(model) == before


class OtherTracker:
    """What tracks a layer's state, in a Keras that does not let go of any."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        if name == "untrack":
            raise AttributeError(name)
        return getattr(self.real, name)


def test_a_layer_that_cannot_be_opened_is_an_error_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = models.functional()
    before = models.look(model)
    second = model.get_layer("second")
    monkeypatch.setitem(vars(second), "_tracker", OtherTracker(second._tracker))

    with pytest.raises(FourierFormatError, match=r"^second: the layer is locked, .*use Keras 3"):
        models.attached(model, "first", "second")

    monkeypatch.undo()
    assert models.look(model) == before


def test_a_base_that_is_not_finite_is_an_error_by_name() -> None:
    model = models.functional()
    model.get_layer("second").kernel.assign(np.full((12, 6), np.inf))
    before = models.look(model)

    with pytest.raises(
        FourierFormatError, match=r"^second: its base weight is not finite"
    ) as error:
        models.attached(model, "first", "second")

    assert {v.code for v in error.value.violations} == {"E-NUMBER-NONFINITE"}
    assert models.look(model) == before
