from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fourier_format.errors import UsageError
from fourier_trainers.torch import (
    FourierConfig,
    attach,
    capture,
    detach,
    load_trained_state,
    merge,
    parameter_groups,
    set_active,
    trained_state,
)
from tests.fourier_trainers.torch.loops import small


class Loop:
    """A loop as a user writes it, with all that it needs to go on."""

    def __init__(self) -> None:
        self.model = small.attached(dropout=0.3)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, lr=0.05))
        self.scheduler = torch.optim.lr_scheduler.LinearLR(self.optimizer, total_iters=10)

    def steps(self, first: int, last: int) -> None:
        for tokens, labels in itertools.islice(small.batches(), first, last):
            self.optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(self.model(tokens), labels))
            self.optimizer.step()
            self.scheduler.step()

    def save(self, path: Path) -> None:
        state = {
            "model": trained_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": torch.get_rng_state(),
        }
        torch.save(state, path)

    def load(self, path: Path) -> None:
        state = torch.load(path)
        load_trained_state(self.model, state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["random"])


def test_a_loop_that_was_interrupted_within_an_epoch_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole, half = Loop(), Loop()
    torch.manual_seed(1)
    whole.steps(0, 9)
    torch.manual_seed(1)
    half.steps(0, 4)
    half.save(tmp_path / "checkpoint.pt")

    resumed = Loop()
    torch.manual_seed(2)
    resumed.load(tmp_path / "checkpoint.pt")
    resumed.steps(4, 9)

    assert small.same_bits(trained_state(resumed.model), trained_state(whole.model))
    assert not small.same_bits(trained_state(half.model), trained_state(whole.model))
    assert pickle.dumps(capture(resumed.model)) == pickle.dumps(capture(whole.model))


def test_a_trained_state_holds_nothing_of_the_base() -> None:
    model = small.attached()

    state = trained_state(model)

    assert state.keys() == small.TRAINED
    assert not any(tensor.requires_grad for tensor in state.values())


def test_a_trained_state_holds_what_is_trained_and_not_what_is_captured() -> None:
    model = small.attached()

    state, adapter = trained_state(model), capture(model)

    target = adapter.target("blocks.0.up")
    trained = state["blocks.0.up.fourier.default.coefficients"].numpy()
    assert (adapter.coefficients(target) == trained * small.CONFIG.gain).all()


def test_a_trained_state_stays_what_it_was_when_training_goes_on() -> None:
    model = small.attached()
    state = trained_state(model)
    before = {key: value.clone() for key, value in state.items()}

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)

    assert small.same_bits(state, before)


def changed(model: nn.Module, seed: int) -> None:
    """Give everything that is trained other values."""
    generator = torch.Generator().manual_seed(seed)
    state = trained_state(model)
    load_trained_state(
        model, {k: torch.randn(v.shape, generator=generator) for k, v in state.items()}
    )


def two_adapters() -> small.Classifier:
    return attach(small.attached(name="first"), small.CONFIG, "second")


def test_all_adapters_are_held_with_their_own_heads() -> None:
    model = two_adapters()

    state = trained_state(model)

    assert "head.fourier.first.weight" in state
    assert "head.fourier.second.weight" in state
    assert "blocks.1.down.fourier.first.bias" in state
    assert "head.weight" not in state
    assert len(state) == 2 * len(small.TRAINED)


@pytest.mark.parametrize("then", ["first", "second", None])
@pytest.mark.parametrize("now", ["first", "second", None])
def test_which_adapter_is_active_does_not_matter(then: str | None, now: str | None) -> None:
    saved, loaded = two_adapters(), two_adapters()
    changed(saved, 1)
    changed(loaded, 2)
    set_active(saved, then)
    set_active(loaded, now)
    state = trained_state(saved)

    load_trained_state(loaded, state)

    assert small.same_bits(trained_state(loaded), state)
    for name in ("first", "second"):
        assert pickle.dumps(capture(loaded, name)) == pickle.dumps(capture(saved, name))


def test_loading_leaves_the_base_alone() -> None:
    model = two_adapters()
    changed(model, 1)

    assert same_base(detach(model), small.attached())


def same_base(model: nn.Module, attached: nn.Module) -> bool:
    expected = detach(attached).state_dict()
    return small.same_bits(model.state_dict(), expected)


def lacking(state: dict[str, Tensor]) -> None:
    del state["head.weight"]


def unexpected(state: dict[str, Tensor]) -> None:
    state["embedding.weight"] = torch.zeros(2)


def other_shape(state: dict[str, Tensor]) -> None:
    state["blocks.0.up.fourier.default.coefficients"] = torch.zeros(7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lacking, "head.weight: the trained state lacks it"),
        (unexpected, "embedding.weight: nothing of this name is trained"),
        (other_shape, r"coefficients: the trained state has another shape \(got \(7,\), expected"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_loaded(change: Any, said: str) -> None:
    model = small.attached()
    before = trained_state(model)
    state = {key: value + 1 for key, value in before.items()}
    change(state)

    with pytest.raises(UsageError, match=said):
        load_trained_state(model, state)

    assert small.same_bits(trained_state(model), before)


def test_all_that_does_not_fit_is_said_at_once() -> None:
    model = small.attached()
    state = trained_state(model)
    lacking(state)
    unexpected(state)
    other_shape(state)

    with pytest.raises(UsageError) as caught:
        load_trained_state(model, state)

    assert len(caught.value.violations) == 3


def test_a_merged_model_takes_no_trained_state() -> None:
    model = small.attached()
    state = trained_state(model)
    merge(model)

    assert trained_state(model).keys() == small.TRAINED
    with pytest.raises(UsageError, match="unmerge"):
        load_trained_state(model, state)


def test_a_model_without_an_adapter_has_no_trained_state() -> None:
    with pytest.raises(UsageError, match="no adapter attached"):
        trained_state(small.Classifier())


class Holder(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")  # the wrapper is what matters here


@pytest.mark.parametrize("wrap", [Holder, compiled, nn.DataParallel])
def test_names_are_the_same_whatever_the_model_is_wrapped_in(wrap: Any) -> None:
    model = small.attached()
    state = {key: value + 1 for key, value in trained_state(model).items()}

    load_trained_state(wrap(model), state)

    assert small.same_bits(trained_state(wrap(model)), state)
    assert small.same_bits(trained_state(model), state)


class TestLoadStateDict:
    """The model's own load_state_dict, by which Trainer and Lightning restore it."""

    def test_it_takes_a_trained_state_strictly(self) -> None:
        model = small.attached()
        state = {key: value + 1 for key, value in trained_state(model).items()}

        result = model.load_state_dict(state)

        assert (result.missing_keys, result.unexpected_keys) == ([], [])
        assert small.same_bits(trained_state(model), state)
        assert same_base(detach(model), small.attached())

    def test_it_takes_one_for_a_model_within(self) -> None:
        model = Holder(small.attached())
        state = {f"model.{key}": value + 1 for key, value in trained_state(model).items()}

        result = model.load_state_dict(state)

        assert (result.missing_keys, result.unexpected_keys) == ([], [])
        assert torch.equal(trained_state(model)["head.bias"], state["model.head.bias"])

    def test_it_takes_one_of_several_adapters(self) -> None:
        saved, loaded = two_adapters(), two_adapters()
        changed(saved, 1)

        loaded.load_state_dict(trained_state(saved))

        assert small.same_bits(trained_state(loaded), trained_state(saved))

    def test_it_takes_a_whole_state_as_ever(self) -> None:
        saved, loaded = small.attached(), small.attached(base=1)
        changed(saved, 1)

        loaded.load_state_dict(saved.state_dict())

        assert small.same_bits(loaded.state_dict(), saved.state_dict())

    def test_it_says_what_a_trained_state_lacks_even_where_it_is_not_strict(self) -> None:
        model = small.attached()
        state = trained_state(model)
        lacking(state)

        with pytest.raises(UsageError, match="lacks it"):
            model.load_state_dict(state, strict=False)

    def test_it_still_says_what_a_whole_state_lacks(self) -> None:
        model = small.attached()
        state = model.state_dict()
        del state["embedding.weight"]

        with pytest.raises(RuntimeError, match=r"Missing key.*embedding\.weight"):
            model.load_state_dict(state)
        assert model.load_state_dict({}, strict=False).missing_keys == list(model.state_dict())

    def test_it_is_what_it_was_once_the_adapter_is_taken_off(self) -> None:
        model = small.attached()
        state = trained_state(model)
        detach(model)

        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict(state)
        assert not model._load_state_dict_pre_hooks
        assert not model._load_state_dict_post_hooks

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_a_copy_takes_one_and_leaves_the_original_alone(self, copied: Any) -> None:
        model = small.attached()
        before = trained_state(model)
        state = {key: value + 1 for key, value in before.items()}
        other = copied(model)

        other.load_state_dict(state)

        assert small.same_bits(trained_state(other), state)
        assert small.same_bits(trained_state(model), before)
        detach(other)
        assert not other._load_state_dict_pre_hooks


class TestExchangedParameters:
    """Leaving the meta device, `assign=True` and sharding make new parameter objects."""

    def test_a_head_that_was_assigned_is_the_one_that_is_saved_and_captured(self) -> None:
        model = small.attached()
        state = {key: value + 1 for key, value in model.state_dict().items() if "head" in key}

        model.load_state_dict(state, strict=False, assign=True)

        assert torch.equal(trained_state(model)["head.weight"], state["head.weight"])
        assert (capture(model).replacements["head.bias"] == state["head.bias"].numpy()).all()
        set_active(model, None)
        set_active(model, "default")
        assert torch.equal(model.head.weight, state["head.weight"])

    def test_a_model_on_the_meta_device_has_no_trained_state_yet(self) -> None:
        with torch.device("meta"):
            model = small.Classifier()
        attach(model, FourierConfig(target_modules=("up",), n=10))

        with pytest.raises(UsageError, match="meta device"):
            trained_state(model)

    def test_a_model_that_leaves_the_meta_device_takes_one(self) -> None:
        trained = small.attached()
        with torch.device("meta"):
            model = small.Classifier()
        attach(model, small.CONFIG)
        model.to_empty(device="cpu")
        model.load_state_dict(small.attached().state_dict())

        load_trained_state(model, trained_state(trained))

        tokens, _ = small.rows()
        assert torch.equal(model(tokens), trained(tokens))
        assert pickle.dumps(capture(model)) == pickle.dumps(capture(trained))
