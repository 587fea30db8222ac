from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from torch import nn

import fourier_format
from fourier_format.errors import (
    BaseMismatchError,
    InvalidAdapterError,
    TargetNotFoundError,
    UnsupportedError,
    UsageError,
)
from fourier_format.fingerprint import positions, without_fingerprints
from fourier_trainers.torch import active, capture, detach, load_adapter, set_active
from tests.fourier_converters.command import converted
from tests.fourier_trainers.torch import models


def trained(**more: Any) -> Any:
    model = models.attached(models.mixed(), *models.MIXED[:3], modules_to_save=("head",), **more)
    models.train(model, lambda: model(models.mixed_ids()).square().mean())
    return model


@pytest.mark.parametrize("suffix", ["fft", "fft.h5"])
def test_a_file_on_a_fresh_base_gives_the_same_outputs_bit_for_bit(
    tmp_path: Path, suffix: str
) -> None:
    model, ids = trained(), models.mixed_ids()
    fourier_format.save(capture(model), tmp_path / f"a.{suffix}")

    fresh = load_adapter(models.mixed(), tmp_path / f"a.{suffix}")

    assert torch.equal(fresh(ids), model(ids))
    with torch.no_grad():
        assert torch.equal(fresh(ids), model(ids))


def test_what_is_loaded_is_captured_again_byte_for_byte() -> None:
    adapter = capture(trained(), metadata={"a": [1]})

    again = capture(load_adapter(models.mixed(), adapter))

    assert fourier_format.to_bytes(again) == fourier_format.to_bytes(adapter)


@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_training_goes_on_from_a_file(gain: float) -> None:
    adapter = capture(trained())
    model = load_adapter(models.mixed(), adapter, "more", gain=gain)

    models.train(model, lambda: model(models.mixed_ids()).square().mean())

    after = capture(model)
    assert active(model) == ("more",)
    for old, new in zip(adapter.entry_sets, after.entry_sets, strict=True):
        assert np.array_equal(old.entries, new.entries)
        assert not np.array_equal(old.coefficients, new.coefficients)


def test_several_files_on_one_model_and_off_again() -> None:
    base, ids = models.mixed(), models.mixed_ids()
    before = models.look(base)
    adapters = {"a": capture(trained(seed=1)), "b": capture(trained(seed=2))}
    expected = {name: load_adapter(models.mixed(), a)(ids) for name, a in adapters.items()}

    for name, adapter in adapters.items():
        load_adapter(base, adapter, name)

    for name, y in expected.items():
        set_active(base, name)
        assert torch.equal(base(ids), y)
    models.assert_as_before(before, detach(base))


def test_a_head_takes_the_base_s_dtype() -> None:
    model = load_adapter(models.mixed().to(torch.bfloat16), capture(trained()))

    assert model.head.weight.dtype == torch.bfloat16
    assert model(models.mixed_ids()).dtype == torch.bfloat16


def test_a_meta_model_takes_file_and_base_in_any_order() -> None:
    adapter, ids = capture(trained()), models.mixed_ids()
    with torch.device("meta"):
        model = load_adapter(models.Mixed().eval(), adapter)
    state = {k: v for k, v in models.mixed().state_dict().items() if not k.startswith("head")}

    model.load_state_dict(state, strict=False, assign=True)
    model.load_state_dict({k: _tensor(v) for k, v in adapter.replacements.items()}, False, True)

    assert torch.equal(model(ids), load_adapter(models.mixed(), adapter)(ids))


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


class Holder(nn.Module):
    """Two models of one class."""

    def __init__(self, *seeds: int) -> None:
        super().__init__()
        self.left, self.right = (models.layers(seed) for seed in seeds)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)  # type: ignore[no-any-return]


def test_a_prefix_that_the_model_has_is_put_in_front() -> None:
    inner = models.attached(models.bert(), "query", "word_embeddings", modules_to_save=("pooler",))
    adapter = capture(inner)
    outer = models.bert("BertForSequenceClassification")
    outer.bert.load_state_dict(models.bert().state_dict())

    load_adapter(outer, adapter)

    names = [target.name for target in capture(outer).targets]
    assert names == [f"bert.{target.name}" for target in adapter.targets]
    ids = models.token_ids()
    assert torch.equal(outer.bert(ids)[1], inner(ids)[1])


def test_a_prefix_that_the_model_lacks_is_taken_off() -> None:
    outer = models.attached(models.bert("BertForSequenceClassification"), "query")
    inner: Any = models.bert("BertForSequenceClassification").bert
    ids = models.token_ids()

    load_adapter(inner, capture(outer))

    assert torch.equal(inner(ids)[1], outer.bert(ids)[1])
    assert capture(inner).targets[0].name == "encoder.layer.0.attention.self.query"


def test_fingerprints_decide_between_prefixes() -> None:
    adapter = capture(models.attached(models.layers(7), "0", "2"))
    model = load_adapter(Holder(3, 7), adapter)

    assert [target.name for target in capture(model).targets] == ["right.0", "right.2"]


def test_several_prefixes_are_an_error_that_names_them() -> None:
    adapter = without_fingerprints(capture(models.attached(models.layers(7), "0", "2")))
    model = Holder(3, 7)
    before = models.look(model)

    with pytest.raises(
        TargetNotFoundError, match=r"several ways \(got with 'left.' in front, with 'right.' in fr"
    ):
        load_adapter(model, adapter)

    models.assert_as_before(before, model)


def test_several_prefixes_that_fingerprints_exclude_are_an_error_too() -> None:
    with pytest.raises(TargetNotFoundError, match="several ways"):
        load_adapter(Holder(3, 4), capture(models.attached(models.layers(7), "0", "2")))


def test_names_that_fit_in_part_are_no_prefix() -> None:
    adapter = capture(models.attached(models.layers(), "0", "2"))
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(8, 12)), "b": models.layers()})
    del model["b"][2]  # type: ignore[operator]

    with pytest.raises(
        TargetNotFoundError,
        match=r"2: no layer of the model has the weight that it was trained on",
    ):
        load_adapter(model, adapter)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: models.layers(1), BaseMismatchError, "0: its base weight is not the one"),
        (
            lambda: nn.Sequential(nn.Linear(8, 13), nn.ReLU(), nn.Linear(13, 8)),
            BaseMismatchError,
            r"0: its weight has another shape \(got 13x8, expected 12x8\)",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU(), nn.Linear(12, 8)),
            BaseMismatchError,
            r"0: another kind of layer \(got conv2d, expected linear\)",
        ),
        (lambda: nn.Sequential(nn.Linear(8, 12)), TargetNotFoundError, "2: no module"),
        (
            lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.LSTM(12, 8)),
            UnsupportedError,
            "2: not a layer that can be adapted",
        ),
    ],
)
def test_another_base_is_refused_and_left_alone(
    make: Any, error: type[Exception], message: str
) -> None:
    adapter = capture(models.attached(models.layers(), "0", "2"))
    model = make()
    before = models.look(model)

    with pytest.raises(error, match=message):
        load_adapter(model, adapter)

    models.assert_as_before(before, model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_that_is_another_between_the_samples_is_refused(dtype: torch.dtype) -> None:
    base: Any = nn.Sequential(nn.Linear(24, 16)).to(dtype)
    adapter = capture(models.attached(deepcopy(base), "0"))
    other = base[0].weight.detach().flatten()
    sampled = torch.isin(torch.arange(len(other)), torch.from_numpy(positions((16, 24))))
    base[0].weight.data = torch.where(sampled, other, 9).view(16, 24)

    with pytest.raises(BaseMismatchError, match=r"^0: its base weight .*got a norm of .*fine-tune"):
        load_adapter(base, adapter)
    with pytest.raises(TargetNotFoundError, match="0: no layer of the model has the weight"):
        load_adapter(nn.ModuleDict({"elsewhere": base[0]}), adapter)


def test_heads_that_do_not_fit_are_refused() -> None:
    adapter = capture(trained())
    other = models.mixed()
    other.head = nn.Linear(10, 3)
    before = models.look(other)

    with pytest.raises(
        BaseMismatchError, match=r"head\.bias: the model's weight .*got \(3,\), expected \(4,\)"
    ):
        load_adapter(other, adapter)
    models.assert_as_before(before, other)

    del other.head
    with pytest.raises(TargetNotFoundError, match=r"head\.weight: the model has no weight that"):
        load_adapter(other, adapter)


def test_a_name_that_is_taken_is_refused() -> None:
    model = models.attached(models.layers(), "0")

    with pytest.raises(UsageError, match="adapter of this name already"):
        load_adapter(model, capture(model))


def test_targets_that_are_tied_in_the_model_are_refused() -> None:
    apart = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    apart["b"].load_state_dict(apart["a"].state_dict())
    adapter = capture(models.attached(apart, "a", "b"))
    tied = nn.ModuleDict({"a": nn.Linear(4, 4)})
    tied["b"] = tied["a"]
    tied["a"].load_state_dict({"weight": apart["a"].weight, "bias": apart["a"].bias})

    with pytest.raises(UnsupportedError, match=r"a and b: these modules share one weight"):
        load_adapter(tied, adapter)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_what_peft_trained_gives_what_peft_gives(tmp_path: Path) -> None:
    ids = models.token_ids()
    wanted = peft.FourierFTConfig(
        n_frequency=20, scaling=30.0, target_modules=["query"], modules_to_save=["classifier"]
    )
    theirs = peft.get_peft_model(models.bert("BertForSequenceClassification"), wanted)
    theirs.save_pretrained(tmp_path / "peft")
    models.bert("BertForSequenceClassification").save_pretrained(tmp_path / "base")
    file = tmp_path / "a.fft"
    converted(tmp_path / "peft", "--to", "fft", "--base", tmp_path / "base", "-o", file)

    ours = load_adapter(models.bert("BertForSequenceClassification"), file)

    with torch.no_grad():
        assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-5)


def test_an_adapter_made_by_hand_is_held_to_the_rules_of_a_file() -> None:
    adapter = capture(models.attached(nn.Sequential(nn.Linear(4, 4)), "0"))
    (entry_set,) = adapter.entry_sets
    broken = replace(entry_set, coefficients=np.full_like(entry_set.coefficients, np.nan))

    for wrong in (replace(adapter, targets=()), replace(adapter, entry_sets=(broken,))):
        model = nn.Sequential(nn.Linear(4, 4))
        with pytest.raises(InvalidAdapterError):
            load_adapter(model, wrong)
        assert type(model[0]) is nn.Linear


def test_a_directory_is_no_adapter_and_the_error_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fourier-convert DIRECTORY --to fft"):
        load_adapter(nn.Sequential(nn.Linear(4, 4)), tmp_path)


def test_the_same_weights_in_another_dtype_are_refused_with_both_dtypes() -> None:
    base = nn.Sequential(nn.Linear(8, 8))
    adapter = capture(models.attached(deepcopy(base).to(torch.bfloat16), "0"))

    with pytest.raises(
        BaseMismatchError, match=r"got a weight of F32, expected values of BF16.*cast"
    ):
        load_adapter(base, adapter)


def test_a_head_that_the_model_lacks_is_what_the_error_names() -> None:
    whole = nn.ModuleDict({"bert": nn.Sequential(nn.Linear(4, 4)), "head": nn.Linear(4, 2)})
    adapter = capture(models.attached(whole, "0", modules_to_save=("head",)))

    with pytest.raises(TargetNotFoundError, match=r"head\.weight: the model has no weight"):
        load_adapter(nn.Sequential(nn.Linear(4, 4)), adapter)


def test_an_alpha_of_0_is_valid_in_a_file_and_refused_where_one_is_asked_for() -> None:
    base = nn.Sequential(nn.Linear(4, 4))
    adapter = replace(capture(models.attached(deepcopy(base), "0")), alpha=0.0)
    x = torch.randn(2, 4)

    assert torch.equal(load_adapter(deepcopy(base), adapter)(x), base(x))
    with pytest.raises(UsageError, match="0: with an alpha of 0 nothing is trained"):
        models.attached(deepcopy(base), "0", alpha=0.0)
    with pytest.raises(UsageError, match="0: with an alpha of 0 nothing is trained"):
        models.attached(deepcopy(base), "0", alpha_pattern={"0": 0.0})
