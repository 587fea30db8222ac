"""Training goes on where it was killed, and keeps the best epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments.training import Loop, fit, shuffled
from experiments.trial import Json

X = torch.linspace(-1, 1, 24).reshape(12, 2)


class _KilledError(Exception):
    pass


def train(model: nn.Module, folder: Path, scores: list[float], killed_after: int = 0) -> Json:
    calls = iter(range(1, 100))
    left = iter(scores)

    def step() -> None:
        if next(calls) == killed_after:
            raise _KilledError

    def loss(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> torch.Tensor:
        return functional.mse_loss(functional.dropout(model(X[rows]), 0.5), X[rows, :1])

    loop = Loop(len(scores), shuffled(12, 5, 3), loss, lambda: next(left), 3)
    groups = [{"params": list(model.parameters()), "lr": 0.1}]
    return fit(model, groups, loop, folder / "checkpoint.pt", step)


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def weights(model: nn.Module) -> list[list[float]]:
    return [parameter.flatten().tolist() for parameter in model.parameters()]


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, killed = new_model(), new_model()
    history = train(whole, tmp_path / "whole", [0.1, 0.2, 0.3])["history"]

    with pytest.raises(_KilledError):
        train(killed, tmp_path, [0.1, 0.2, 0.3], killed_after=2)
    again = new_model()
    gone_on = train(again, tmp_path, [0.3, 0.3, 0.3])["history"]

    assert weights(again) == weights(whole)
    assert [e["loss"] for e in gone_on] == [e["loss"] for e in history]


def test_the_model_is_left_at_its_first_best_epoch(tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    best = new_model()
    found = train(best, tmp_path, [0.5, 0.1, 0.5])
    assert (found["epoch"], found["choose"]) == (1, 0.5)
    last = new_model()
    train(last, tmp_path / "short", [0.1, 0.2, 0.5])
    assert weights(best) != weights(last)


def test_an_epochs_batches_hang_on_seed_and_epoch_alone() -> None:
    first, again, other = shuffled(10, 4, 1)(2), shuffled(10, 4, 1)(2), shuffled(10, 4, 1)(3)
    assert [b.tolist() for b in first] == [b.tolist() for b in again]
    assert [b.tolist() for b in first] != [b.tolist() for b in other]
    assert sorted(np.concatenate(first).tolist()) == list(range(10))


def test_running_statistics_stay_as_they_are(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(1)
    train(nn.Sequential(nn.Linear(2, 1), norm), tmp_path, [0.1])
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [0.0]


def test_a_run_that_diverges_ends_and_says_so(tmp_path: Path) -> None:
    model = new_model()
    found = train(model, tmp_path, [0.5, float("nan"), 0.9])
    assert found["diverged"] == 2
    assert len(found["history"]) == 2
    assert found["epoch"] == 1
