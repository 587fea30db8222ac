from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fourier_format
from fourier_trainers.torch import (
    capture,
    load_trained_state,
    parameter_groups,
    trained_state,
)
from fourier_trainers.torch.accelerate import trim_checkpoints
from tests.fourier_trainers.torch.loops import contents, small

EPOCHS, AT = 2, 3
"""Six batches an epoch; what is saved after the third one lies within the first epoch."""


class Loop:
    """The loop of Accelerate's own documentation."""

    def __init__(self, model: nn.Module | None = None) -> None:
        self.accelerator = Accelerator(cpu=True)
        model = small.attached(dropout=0.3) if model is None else model
        rows = DataLoader(TensorDataset(*small.rows()), batch_size=8, generator=torch.Generator())
        optimizer = torch.optim.AdamW(parameter_groups(model, lr=0.05))
        self.model, self.optimizer, self.loader = self.accelerator.prepare(model, optimizer, rows)

    def train(self, *, skipped: int = 0, last: int | None = None) -> None:
        for epoch in range(EPOCHS):
            first = epoch == 0 and skipped
            loader = skip_first_batches(self.loader, skipped) if first else self.loader
            for number, (tokens, labels) in enumerate(loader, start=skipped if first else 0):
                if number == last:
                    return
                self.optimizer.zero_grad()
                self.accelerator.backward(nn.functional.cross_entropy(self.model(tokens), labels))
                self.optimizer.step()


@pytest.fixture(scope="module")
def whole() -> Loop:
    torch.manual_seed(1)
    loop = Loop()
    loop.train()
    return loop


@pytest.fixture
def half() -> Loop:
    torch.manual_seed(1)
    loop = Loop()
    loop.train(last=AT)
    return loop


def test_the_prepared_model_trains_and_is_captured(whole: Loop, tmp_path: Path) -> None:
    fourier_format.save(capture(whole.model), tmp_path / "adapter.fft")

    before, after = small.attached().state_dict(), whole.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == small.TRAINED


@pytest.mark.parametrize("trims", [True, False])
def test_what_was_interrupted_within_an_epoch_goes_on_to_the_bit(
    whole: Loop, half: Loop, tmp_path: Path, trims: Any
) -> None:
    if trims:
        trim_checkpoints(half.accelerator)
    half.accelerator.save_state(str(tmp_path))

    resumed = Loop()
    if trims:
        trim_checkpoints(resumed.accelerator)
    resumed.accelerator.load_state(str(tmp_path))
    resumed.train(skipped=AT)

    assert small.same_bits(trained_state(resumed.model), trained_state(whole.model))
    assert not small.same_bits(trained_state(half.model), trained_state(whole.model))
    held = contents.holding_base(tmp_path, contents.base_tensors(small.attached()))
    assert bool(held) is not trims


def test_a_loop_may_save_by_itself_what_it_needs(whole: Loop, half: Loop, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    state = {"model": trained_state(half.model), "optimizer": half.optimizer.state_dict()}
    half.accelerator.save(state | {"random": torch.get_rng_state()}, path)

    resumed, saved = Loop(), torch.load(path)
    load_trained_state(resumed.model, saved["model"])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["random"])
    resumed.train(skipped=AT)

    assert small.same_bits(trained_state(resumed.model), trained_state(whole.model))


def test_models_that_are_not_attached_are_saved_and_loaded_as_ever(tmp_path: Path) -> None:
    first, second = nn.Linear(3, 3), nn.Linear(2, 2)
    attached = [small.attached(), small.attached(base=1)]
    for k, each in enumerate(attached):
        load_trained_state(each, {n: v + 1 + k for n, v in trained_state(each).items()})
    models: list[nn.Module] = [first, attached[0], second, attached[1]]
    expected = [{n: v.clone() for n, v in model.state_dict().items()} for model in models]
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(*models)
    trim_checkpoints(accelerator)

    accelerator.save_state(str(tmp_path))
    with torch.no_grad():
        for parameter in (p for m in models for n, p in m.named_parameters() if p.requires_grad):
            parameter.add_(5.0)
    accelerator.load_state(str(tmp_path))

    for model, state in zip(models, expected, strict=True):
        assert small.same_bits(model.state_dict(), state)
