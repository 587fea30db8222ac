from __future__ import annotations

import pytest
import torch
from torch import nn

from fourier_format.errors import UsageError
from fourier_trainers.torch import merge, parameter_groups, set_active
from tests.fourier_trainers.torch import models


def test_coefficients_heads_and_vectors_have_their_own_groups() -> None:
    model = models.attached(models.mixed(), "conv", "mix", modules_to_save=("head",), bias="all")

    groups = parameter_groups(model, lr=0.1, weight_decay=0.01)

    assert [(g["name"], len(g["params"]), g["lr"], g["weight_decay"]) for g in groups] == [
        ("coefficients", 2, 0.1, 0.01),
        ("head", 1, 0.01, 0.01),
        ("head without decay", 4, 0.01, 0.0),
    ]
    assert parameter_groups(model, lr=0.1, head_lr=0.5)[1]["lr"] == pytest.approx(0.5)
    torch.optim.AdamW(groups)


def test_a_module_called_fourier_is_no_coefficient() -> None:
    model = nn.ModuleDict({"fourier": nn.Linear(4, 4), "up": nn.Linear(4, 4)})
    models.attached(model, "up", modules_to_save=("fourier",))

    assert [len(g["params"]) for g in parameter_groups(model, lr=0.1)] == [1, 1, 1]


def test_nothing_to_train_is_refused() -> None:
    model = models.attached(models.layers(), "0")
    set_active(model, None)

    with pytest.raises(UsageError, match=r"nothing is trained; call set_active"):
        parameter_groups(model, lr=0.1)


def test_merged_weights_have_nothing_to_train() -> None:
    model = merge(models.attached(nn.Sequential(nn.Linear(4, 4)), "0"))

    with pytest.raises(UsageError, match="call unmerge"):
        parameter_groups(model, lr=0.1)
