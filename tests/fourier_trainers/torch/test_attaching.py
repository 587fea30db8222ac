from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fourier_format.errors import TargetNotFoundError, UnsupportedError, UsageError
from fourier_trainers.torch import (
    BandPass,
    Explicit,
    FourierConfig,
    active,
    attach,
    capture,
    detach,
    set_active,
)
from tests.fourier_trainers.torch import models


def test_only_coefficients_are_added_to_the_state_dict() -> None:
    model = models.mixed()
    before = set(model.state_dict())

    models.attached(model, *models.MIXED, name="a", modules_to_save=("norm",), bias="all")

    added = set(model.state_dict()) - before
    assert added == {f"{target}.fourier.a.coefficients" for target in models.MIXED}
    assert before < set(model.state_dict())


def test_classes_and_identities_of_the_base_stay() -> None:
    model = models.mixed()
    objects = {name: id(module) for name, module in model.named_modules()}

    models.attached(model, *models.MIXED)

    assert isinstance(model.head, nn.Linear)
    assert isinstance(model.conv, nn.Conv2d)
    assert {name: id(m) for name, m in model.named_modules() if "fourier" not in name} == objects


def test_only_coefficients_heads_and_biases_require_gradients() -> None:
    model = models.attached(models.mixed(), "conv", modules_to_save=("head",), bias="targets")

    trained = {name for name, p in model.named_parameters() if p.requires_grad}

    assert trained == {
        "conv.bias",
        "conv.fourier.default.coefficients",
        "head.weight",
        "head.bias",
    }


def test_all_biases_are_those_that_torch_calls_so() -> None:
    model = nn.ModuleDict(
        {"a": nn.MultiheadAttention(8, 2), "b": nn.LSTM(4, 4), "c": nn.Linear(4, 4)}
    )

    models.attached(model, "c", bias="all", reached="unchecked")

    assert set(capture(model).replacements) == {
        "a.in_proj_bias",
        "a.out_proj.bias",
        "b.bias_ih_l0",
        "b.bias_hh_l0",
        "c.bias",
    }


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_detach_leaves_the_model_as_it_was(names: tuple[str, ...]) -> None:
    model = models.mixed()
    model.norm.requires_grad_(requires_grad=False)
    before = models.look(model)
    for name in names:
        more = {"modules_to_save": ("norm",), "bias": "targets"}
        models.attached(model, "conv", "mix", "embed", name=name, **more)
        models.train(model.train(), lambda: model(models.mixed_ids()).square().mean())
    model.eval()

    assert detach(model) is model

    models.assert_as_before(before, model)


def test_one_of_several_adapters_is_detached() -> None:
    model = models.layers()
    before = models.look(model)
    x = torch.randn(3, 8)
    models.attached(model, "0", name="a", seed=1)
    with torch.no_grad():
        y = model(x)
    models.attached(model, "0", "2", name="b", seed=2)

    detach(model, "b")

    assert active(model) == ()
    set_active(model, "a")
    with torch.no_grad():
        assert torch.equal(model(x), y)
    with pytest.raises(UsageError, match=r"no such adapter \(got b, expected one of: a\)"):
        detach(model, "b")
    models.assert_as_before(before, detach(model))


@pytest.mark.parametrize(
    "name", ["", "a.b", "a b", "train", "training", "switch", "kept", "_modules", "x" * 65, "keys"]
)
def test_names_that_no_module_can_have_are_refused(name: str) -> None:
    model = models.layers()
    before = models.look(model)

    with pytest.raises(UsageError, match=r"name: not allowed \(got '.*', expected letters"):
        models.attached(model, "0", name=name)

    models.assert_as_before(before, model)


def test_a_second_adapter_of_the_same_name_is_refused() -> None:
    model = models.attached(models.layers(), "0")
    before = models.look(model)

    with pytest.raises(UsageError, match=r"adapter of this name already \(got default\); take"):
        models.attached(model, "2")

    models.assert_as_before(before, model)


def test_a_second_adapter_that_fails_leaves_the_first() -> None:
    model = models.attached(models.layers(), "0")
    before = models.look(model)

    with pytest.raises(TargetNotFoundError):
        models.attached(model, "2", "9", name="b")

    models.assert_as_before(before, model)
    assert active(model) == ("default",)


def test_what_is_inside_or_around_an_attached_model_is_refused() -> None:
    inner = models.layers()
    outer = nn.Sequential(inner, nn.Linear(8, 8))
    models.attached(inner, "0")
    with pytest.raises(UsageError, match=r"attached already \(got 0.0\); attach every adapter"):
        models.attached(outer, "1", name="b")

    detach(inner)
    models.attached(outer, "1", "0.0")
    with pytest.raises(UsageError, match="attached already"):
        models.attached(inner, "0", name="b")


def test_a_wrapped_model_is_refused_with_advice() -> None:
    with pytest.raises(UsageError, match=r"before it is wrapped; attach to model\.module"):
        models.attached(nn.DataParallel(models.layers()), "0")


def both(model: Any) -> Any:
    models.attached(model, "embed", "conv", name="a", modules_to_save=("head",), seed=1)
    return models.attached(model, "conv", "mix", name="b", modules_to_save=("head",), seed=2)


def saved(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded: nn.Module = torch.load(buffer, weights_only=False)
    return loaded


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved],
    ids=["deepcopy", "pickle", "save"],
)
def test_copies_are_whole_and_independent(copied: Callable[[nn.Module], nn.Module]) -> None:
    model, ids = both(models.mixed()), models.mixed_ids()
    with torch.no_grad():
        y = model(ids)

    twin = copied(model)

    with torch.no_grad():
        assert torch.equal(twin(ids), y)
    set_active(twin, "a")
    models.train(twin, lambda: twin(ids).square().mean())
    assert active(model) == ("b",)
    with torch.no_grad():
        assert torch.equal(model(ids), y)
        assert not torch.equal(twin(ids), y)
    for name in ("a", "b"):
        capture(twin, name)
    detach(twin)
    assert type(twin.conv) is nn.Conv2d
    detach(model)


def test_a_model_on_the_meta_device_starts_where_it_is_loaded() -> None:
    base, x = models.layers(), torch.randn(2, 8)
    with torch.no_grad():
        expected = models.attached(copy.deepcopy(base), "0", "2")(x)
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))
        models.attached(empty, "0", "2")
    assert all(p.is_meta for p in empty.parameters())
    with pytest.raises(UsageError, match=r"on the meta device and has no values; load the model"):
        capture(empty)

    copied = copy.deepcopy(empty).to_empty(device="cpu")
    copied.load_state_dict(base.state_dict(), strict=False)
    empty.load_state_dict(base.state_dict(), strict=False, assign=True)

    with torch.no_grad():
        assert torch.equal(copied(x), expected)
        assert torch.equal(empty(x), expected)
    capture(empty)


def test_a_whole_state_dict_loads_onto_meta() -> None:
    trained = models.attached(models.layers(), "0", seed=3)
    with torch.device("meta"):
        empty = models.attached(models.layers(), "0", seed=3)

    empty.load_state_dict(trained.state_dict(), assign=True)

    x = torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(empty(x), trained(x))


def test_defaults_of_device_and_dtype_do_not_matter() -> None:
    model = models.layers()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            models.attached(model, "0")
    finally:
        torch.set_default_dtype(torch.float32)

    parameter = model.get_parameter("0.fourier.default.coefficients")
    assert (parameter.dtype, parameter.device.type) == (torch.float32, "cpu")
    model(torch.ones(1, 8)).sum().backward()


def test_entries_are_shared_by_targets_of_one_shape() -> None:
    model = models.attached(models.bert(), "query", "key", "intermediate.dense", n=8)

    adapter = capture(model)

    assert [s.shape for s in adapter.entry_sets] == [(16, 16), (32, 16)]
    assert adapter.seed == 777
    assert {s.sampling.method for s in adapter.entry_sets if s.sampling} == {"uniform"}


def test_a_band_pass_keeps_near_its_centre() -> None:
    model = models.attached(models.bert(), "query", n=16, entries=BandPass(0, 2))

    entries = capture(model).entry_sets[0].entries.astype(int)

    centred = np.minimum(entries, 16 - entries)
    assert np.hypot(*centred.T).max() < 6


def explicit(entries: Any) -> FourierConfig:
    return models.config("0", n=3, entries=Explicit({(12, 8): np.array(entries)}))


def test_explicit_entries_are_taken_as_they_are() -> None:
    model = attach(models.layers(), explicit([[0, 0], [11, 7], [3, 4]]))

    assert capture(model).entry_sets[0].entries.tolist() == [[0, 0], [11, 7], [3, 4]]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            [[0, 0], [1, 1]],
            r"not a list of n .*got int64 \(2, 2\), expected integers \(3, 2\)",
        ),
        ([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], "not a list of n entries"),
        ([[0, 0], [12, 1], [2, 2]], r"outside \(got \(12, 1\), expected u < out, v < in"),
        ([[0, 0], [-1, 1], [2, 2]], "outside"),
        ([[0, 0], [0, 0], [2, 2]], "occurs twice"),
    ],
)
def test_explicit_entries_that_are_wrong_are_refused(entries: Any, message: str) -> None:
    model = models.layers()
    before = models.look(model)

    with pytest.raises(UsageError, match=message):
        attach(model, explicit(entries))

    models.assert_as_before(before, model)


def test_explicit_entries_are_needed_for_every_shape() -> None:
    config = models.config("0", "2", n=3, entries=Explicit({(12, 8): np.eye(3, 2, dtype=int)}))

    with pytest.raises((TargetNotFoundError, UsageError)):
        attach(models.layers(), config)


def test_a_normal_start_is_the_seed_s_and_gain_divides_it() -> None:
    once, again, other, gained = (
        models.attached(models.layers(), "0", seed=seed, gain=gain)[0]
        .fourier["default"]
        .coefficients
        for seed, gain in ((1, 1.0), (1, 1.0), (2, 1.0), (1, 4.0))
    )

    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(gained * 4, once)


def test_a_base_with_a_quantised_head_cannot_save_it() -> None:
    model = models.layers()
    model[2].weight = nn.Parameter(model[2].weight.detach().to(torch.int8), requires_grad=False)

    with pytest.raises(UnsupportedError, match=r"2\.weight: it cannot be trained whole"):
        models.attached(model, "0", modules_to_save=("2",))


def test_a_base_that_is_not_finite_is_refused_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        model.get_parameter("1.weight")[2, 1] = torch.inf
    before = models.look(model)

    with pytest.raises(UnsupportedError, match="1: its base weight is not finite"):
        models.attached(model, "0", "1")

    models.assert_as_before(before, model)


def test_what_is_no_config_is_refused() -> None:
    with pytest.raises(UsageError, match="got dict, expected a FourierConfig"):
        attach(nn.Sequential(nn.Linear(4, 4)), {"n": 3})  # type: ignore[arg-type]
