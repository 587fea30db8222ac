"""Two runtimes beside each other: what differs is listed with its margin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments import exporting
from experiments.exporting import Compared, compared, export, remove, runner, stored

THEIRS = np.array([[1.0, 0.0], [0.5, 0.50002], [0.0, 4.0]])


def test_equal_answers_differ_in_nothing() -> None:
    found = compared(THEIRS, THEIRS, [7, 8, 9], np.ones(3, bool)).json
    assert found["largest_difference"] == 0.0
    assert found["differing"] == []
    assert found["answers"] == 3
    assert found["margins_below"] == 1


def test_a_row_that_is_judged_otherwise_is_listed_with_torchs_margin() -> None:
    ours = THEIRS + np.array([[0, 0], [0.0001, 0], [0, 0]])
    found = compared(ours, THEIRS, [7, 8, 9], np.ones(3, bool)).json
    assert [one["id"] for one in found["differing"]] == [8]
    assert found["differing"][0]["margin"] == pytest.approx(2e-5)
    assert found["relative_error"] == pytest.approx(1e-4 / 4)


def test_tokens_that_do_not_count_are_left_out_and_others_named() -> None:
    theirs = np.stack([THEIRS, THEIRS])  # (rows, tokens, classes)
    ours = theirs[:, :, ::-1]
    counted = np.array([[True, False, False], [False, False, True]])
    found = compared(ours, theirs, [3, 4], counted)
    assert [(one["id"], one["token"]) for one in found.differing] == [(3, 0), (4, 2)]
    assert found.answers == 2


def test_batches_add_up() -> None:
    one = Compared(1.0, 2.0, 3, ({"id": 1, "margin": 0.1},), 1)
    two = Compared(0.5, 4.0, 2, (), 0)
    assert one + two == Compared(1.0, 4.0, 5, ({"id": 1, "margin": 0.1},), 1)
    assert Compared() + one == one


@pytest.mark.real
def test_an_exported_model_answers_as_torch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    inputs = {"input": torch.randn(5, 3)}
    export(model, {"input": inputs["input"][:2]}, {0: "batch"}, tmp_path / "base.onnx")
    with torch.no_grad():
        theirs = model(inputs["input"]).double().numpy()
    found = compared(runner(tmp_path / "base.onnx")(inputs), theirs, list(range(5)), np.ones(5) > 0)
    assert found.json["relative_error"] < 1e-6
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.real
def test_weights_too_large_for_one_file_stand_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "INLINE", 1000)
    model = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 2)).eval()
    inputs = {"input": torch.randn(5, 30)}
    path = tmp_path / "base.onnx"
    export(model, {"input": inputs["input"][:2]}, {0: "batch"}, path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["base.onnx", "base.onnx.data"]
    assert stored(path) > 4 * 30 * 40 > path.stat().st_size - 4000
    with torch.no_grad():
        theirs = model(inputs["input"]).double().numpy()
    found = compared(runner(path)(inputs), theirs, list(range(5)), np.ones(5) > 0)
    assert found.json["relative_error"] < 1e-6
    remove(path)
    assert not list(tmp_path.iterdir())
