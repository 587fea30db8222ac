"""A trial on a toy: it chooses, reports, and says so where there is nothing to report."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.text import trial
from experiments.text.methods import Full
from experiments.text.tasks import Rows, Splits
from experiments.text.trial import TextTrial
from experiments.trial import Context, Json
from tests.experiments.text import toys


@pytest.fixture
def on_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a small BERT and rows of made tokens in place of the model and the task's."""
    found = toys.rows()
    rows = Rows([""] * len(found.labels), None, found.labels, list(range(len(found.labels))))
    monkeypatch.setattr(trial, "splits", lambda *_: Splits(rows, rows, rows))
    monkeypatch.setattr(trial, "new_model", lambda _name, _task, seed: toys.model(seed))
    monkeypatch.setattr(TextTrial, "_examples", lambda *_: found.examples)


def run(rate: float, folder: Path, *, report: bool) -> Json:
    tried = TextTrial(
        task="mrpc", model="toy", method=Full(1), trained_layers=0, rate=rate, head_rate=1e-3,
        seed=1, epochs=2, batch=10, length=16, precision="float32", rows=None, report=report,
        serve=False,
    )  # fmt: skip
    return tried.run(Context(folder, folder, folder, "cpu", lambda: None))


@pytest.mark.usefixtures("on_toys")
def test_a_reporting_trial_reports_and_a_choosing_one_does_not(tmp_path: Path) -> None:
    for name, report in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        found = run(1e-3, tmp_path / name, report=report)
        assert ("report" in found) is report
        assert "diverged" not in found


@pytest.mark.usefixtures("on_toys")
def test_a_reporting_trial_that_diverged_in_its_first_epoch_has_a_result_and_no_report(
    tmp_path: Path,
) -> None:
    found = run(1e30, tmp_path, report=True)
    assert found["diverged"] == 1
    assert found["parameters"] > 0
    assert not {"report", "right", "file_bytes"} & found.keys()
