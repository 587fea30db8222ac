from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from fourier_format.errors import (
    FourierFormatError,
    TargetNotFoundError,
    UnsupportedError,
    UsageError,
)
from fourier_trainers.torch import FourierConfig, attach, capture
from tests.fourier_trainers.torch import models


def targets(model: nn.Module, *wanted: str, **more: Any) -> list[str]:
    models.attached(model, *wanted, **more)
    return [target.name for target in capture(model).targets]


def attach_by(model: nn.Module, wanted: Any, **more: Any) -> list[str]:
    attach(model, FourierConfig(target_modules=wanted, n=8, **more))
    return [target.name for target in capture(model).targets]


def test_a_suffix_means_whole_parts_of_a_name() -> None:
    assert targets(models.bert(), "query") == [
        f"encoder.layer.{k}.attention.self.query" for k in (0, 1)
    ]
    assert targets(models.bert(), "output.dense") == [
        f"encoder.layer.{k}.{part}output.dense" for k in (0, 1) for part in ("attention.", "")
    ]
    with pytest.raises(TargetNotFoundError, match=r"got uery\).*did you mean query"):
        targets(models.bert(), "uery")


def test_a_regular_expression_means_whole_names() -> None:
    assert attach_by(models.bert(), r"encoder\.layer\.1\..*(query|key)") == [
        f"encoder.layer.1.attention.self.{name}" for name in ("query", "key")
    ]
    with pytest.raises(TargetNotFoundError, match=r"give a tuple: \('query',\)"):
        attach_by(models.bert(), "query")
    with pytest.raises(UsageError, match="not a regular expression"):
        attach_by(models.bert(), "(")


def test_all_linear_is_every_linear_layer_but_the_output_layer() -> None:
    found = attach_by(models.gpt2(), "all-linear")

    assert len(found) == 8
    assert {name.rpartition(".")[2] for name in found} == {"c_attn", "c_proj", "c_fc"}


def test_all_linear_leaves_out_what_is_trained_whole() -> None:
    found = attach_by(
        models.bert("BertForSequenceClassification"), "all-linear", modules_to_save=("classifier",)
    )

    assert len(found) == 13  # six of each layer, and the pooler
    assert "classifier" not in found


def test_targets_have_their_own_n_and_alpha() -> None:
    model = models.attached(models.layers(), "0", "2", n_pattern={"2": 5}, alpha_pattern={"0": 2.0})

    adapter = capture(model)

    first, second = adapter.targets
    assert [adapter.entry_set(t).count for t in (first, second)] == [12, 5]
    assert [adapter.alpha_of(t) for t in (first, second)] == [2.0, 30.0]


@pytest.mark.parametrize("field", ["n_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_no_target_is_refused(field: str) -> None:
    with pytest.raises(TargetNotFoundError, match=rf"{field}: no target has this name \(got 1\)"):
        models.attached(models.layers(), "0", **dict[str, Any]({field: {"1": 5}}))


def test_a_module_of_two_names_is_adapted_once_by_its_first() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4)})
    model["b"] = model["a"]

    assert targets(model, "b") == ["a"]


def test_tied_modules_are_refused_with_the_reason_or_adapted_alone() -> None:
    with pytest.raises(UnsupportedError, match=r"wte and lm_head: these modules share one weight"):
        targets(models.gpt2(), "wte", "lm_head")

    model = models.gpt2()
    assert targets(model, "lm_head") == ["lm_head"]
    assert model.lm_head.weight is model.transformer.wte.weight


def test_the_model_may_have_a_module_called_fourier() -> None:
    model = nn.ModuleDict(
        {"fourier": nn.ModuleDict({"mix": nn.Linear(4, 4)}), "up": nn.Linear(4, 4)}
    )

    assert targets(model, "mix", "up", bias="all") == ["fourier.mix", "up"]
    assert set(capture(model).replacements) == {"fourier.mix.bias", "up.bias"}


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        return 2 * super().forward(input)


def within(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(layer())


ZERO, NORMED = ("0",), parametrizations.weight_norm
LOST, BAD = TargetNotFoundError, UnsupportedError
NO_SHAPE, OWN, COMPUTED = "no shape", "forward of its own", "parametrization"

REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, dict[str, Any], type[Exception], str]] = {
    "root": (lambda: nn.Linear(4, 4), "all-linear", {}, LOST, "one layer"),
    "none": (nn.Sequential, "all-linear", {}, LOST, "model"),
    "norms": (within(lambda: nn.LayerNorm(4)), "all-linear", {}, LOST, "no layer"),
    "norm": (within(lambda: nn.LayerNorm(4)), ZERO, {}, BAD, "LayerNorm"),
    "relu": (within(nn.ReLU), ZERO, {}, LOST, "ReLU"),
    "lstm": (within(lambda: nn.LSTM(4, 4)), ZERO, {}, BAD, "LSTM"),
    "own": (within(lambda: Doubled(4, 4)), ZERO, {}, BAD, OWN),
    "lazy linear": (within(lambda: nn.LazyLinear(4)), ZERO, {}, BAD, NO_SHAPE),
    "lazy convolution": (within(lambda: nn.LazyConv2d(4, 1)), ZERO, {}, BAD, NO_SHAPE),
    "linear normed": (within(lambda: NORMED(nn.Linear(4, 4))), ZERO, {}, BAD, COMPUTED),
    "conv normed": (within(lambda: NORMED(nn.Conv2d(4, 4, 1))), ZERO, {}, BAD, COMPUTED),
    "max_norm": (within(lambda: nn.Embedding(4, 4, max_norm=1.0)), ZERO, {}, BAD, "max_norm"),
    "typo": (models.layers, ("0", "3"), {}, LOST, "got 3"),
    "empty": (models.layers, ("",), {}, LOST, "no module"),
    "large": (models.layers, ZERO, {"n": 97}, UsageError, r"got 97, .*at most 12 \* 8 = 96"),
    "saved": (models.layers, ZERO, {"modules_to_save": ZERO}, LOST, "trained whole"),
    "head": (models.layers, ZERO, {"modules_to_save": ("9",)}, LOST, "got 9"),
    "empty head": (models.layers, ZERO, {"modules_to_save": ("1",)}, LOST, "no parameters"),
    "transform": (models.layers, ZERO, {"transform": "dft3"}, BAD, "dft3"),
}


@pytest.mark.parametrize(
    ("make", "wanted", "more", "error", "message"),
    REFUSED.values(),
    ids=REFUSED,
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_what_cannot_be_adapted_is_refused_with_the_model_as_it_was(
    make: Callable[[], nn.Module],
    wanted: Any,
    more: dict[str, Any],
    error: type[FourierFormatError],
    message: str,
) -> None:
    torch.manual_seed(0)
    model = make()
    lazy = any(isinstance(p, nn.UninitializedParameter) for p in model.parameters())
    before = None if lazy else models.look(model)
    classes = [type(module) for module in model.modules()]

    with pytest.raises(error, match=message):
        attach(model, FourierConfig(**{"target_modules": wanted, "n": 4, **more}))

    assert [type(module) for module in model.modules()] == classes
    if before is not None:
        models.assert_as_before(before, model)


def test_alpha_may_be_zero_or_negative_but_a_number() -> None:
    model = models.attached(models.layers(), "0", alpha=-1.0)

    assert math.isclose(capture(model).alpha, -1.0)
