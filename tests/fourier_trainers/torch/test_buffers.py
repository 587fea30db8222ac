"""Running statistics of batch normalisations, which no adapter holds."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from fourier_trainers.torch import attach, capture
from tests.fourier_trainers.torch import models

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))


@pytest.mark.parametrize("saved", [(), ("1",)])
def test_statistics_that_training_changes_are_told_of_early_and_late(
    saved: tuple[str, ...],
) -> None:
    model = attach(network(), models.config("0", n=12, modules_to_save=saved)).train()

    with pytest.warns(UserWarning, match="1: its running statistics change in training"):
        model(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once
        model(X)

    with pytest.warns(UserWarning, match=r"1\.running_mean"):
        adapter = capture(model)
    assert adapter.targets  # nothing that was trained is lost


def test_statistics_that_are_kept_are_nothing_to_speak_of() -> None:
    model = attach(network(), models.config("0", n=12)).train()
    model[1].train(mode=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(X).sum().backward()

        assert capture(model.to(torch.bfloat16)).targets


def test_a_normalisation_without_statistics_has_none_to_change() -> None:
    model = network()
    model[1] = nn.BatchNorm2d(4, track_running_stats=False)
    attach(model, models.config("0", n=12)).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(X).sum().backward()

        assert capture(model).targets
