"""All methods see the same batches; a run that was killed ends as if it had not been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.text import methods
from experiments.text.controls import Control
from experiments.text.methods import Fourier, Full, Head, Lora, Method
from experiments.text.models import bucketed
from experiments.text.training import Recipe, train
from experiments.trial import Json
from tests.experiments.text import toys

METHODS = [Fourier(8, 50.0), Lora(2, 4.0), Full(1), Full(0), Head(), Control("gaussian", 8, 50.0)]


class KilledError(Exception):
    pass


def trained(
    method: Method | Control, path: Path, *, killed_after: int = 99
) -> tuple[Json, dict[str, torch.Tensor]]:
    model = toys.model()
    method.apply(model, toys.TARGETS, seed=3)
    recipe = Recipe(epochs=3, batch=8, seed=1, metric="accuracy", precision="float32")
    groups = methods.groups(model, 0.05, 0.01)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done == killed_after:
            raise KilledError

    found = train(model, groups, recipe, toys.rows(), toys.rows(), path, step)
    for epoch in found["history"]:
        del epoch["seconds"], epoch["cpu_seconds"], epoch["peak_bytes"]
    return found, {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
def test_a_killed_run_ends_as_if_it_had_not_been(method: Method | Control, tmp_path: Path) -> None:
    whole, parameters = trained(method, tmp_path / "whole.pt")
    with pytest.raises(KilledError):
        trained(method, tmp_path / "killed.pt", killed_after=2)

    again, found = trained(method, tmp_path / "killed.pt")

    assert again == whole
    assert all(torch.equal(found[name], value) for name, value in parameters.items())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
def test_every_method_changes_what_it_trains_and_nothing_else(
    method: Method | Control, tmp_path: Path
) -> None:
    untrained = toys.model()
    method.apply(untrained, toys.TARGETS, seed=3)
    before = {name: value.detach() for name, value in untrained.named_parameters()}
    asked = {name for name, value in untrained.named_parameters() if value.requires_grad}

    _, after = trained(method, tmp_path / "checkpoint.pt")

    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed <= asked
    assert any("classifier" in name for name in changed)
    assert len(changed) > 2 or method.kind == "head"


def test_the_best_epoch_of_the_choosing_split_is_kept(tmp_path: Path) -> None:
    found, _ = trained(Full(0), tmp_path / "checkpoint.pt")

    scores = [epoch["choose"] for epoch in found["history"]]
    assert found["choose"] == max(scores)
    assert found["epoch"] == 1 + scores.index(max(scores))


def test_a_run_that_diverges_ends_there_and_is_never_chosen(tmp_path: Path) -> None:
    model = toys.model()
    Full(0).apply(model, toys.TARGETS, seed=3)
    recipe = Recipe(epochs=3, batch=8, seed=1, metric="accuracy", precision="float32")
    groups = methods.groups(model, 1e30, 1e30)

    found = train(
        model, groups, recipe, toys.rows(), toys.rows(), tmp_path / "checkpoint.pt", lambda: None
    )

    assert found["diverged"] == 1
    assert found["choose"] < 0
    assert [epoch["loss"] for epoch in found["history"]] == [None]


def test_batches_hold_every_row_once_and_rows_of_about_one_length() -> None:
    examples = toys.rows(100).examples

    batches = bucketed(examples, 8, np.random.default_rng(0))

    assert sorted(np.concatenate(batches).tolist()) == list(range(100))
    lengths = np.array([len(example["input_ids"]) for example in examples])
    spread = [np.ptp(lengths[chosen]) for chosen in batches]
    assert max(spread) <= 9
    assert [b.tolist() for b in batches] == [
        b.tolist() for b in bucketed(examples, 8, np.random.default_rng(0))
    ]
