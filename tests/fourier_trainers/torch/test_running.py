"""Running statistics of batch normalisations, which no adapter holds."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from fourier_format.errors import BaseMismatchError
from fourier_trainers.torch import attach, capture
from tests.fourier_trainers.torch import models

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))


@pytest.mark.parametrize("saved", [(), ("1",)])
def test_statistics_that_training_changes_are_told_of_and_refused(saved: tuple[str, ...]) -> None:
    model = attach(network(), models.config("0", n=12, modules_to_save=saved)).train()

    with pytest.warns(UserWarning, match="running statistics change in training"):
        model(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once
        model(X)

    with pytest.raises(BaseMismatchError, match="1: its running statistics have changed"):
        capture(model)


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
