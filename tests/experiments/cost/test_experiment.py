from __future__ import annotations

import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.cost.experiment import COST
from experiments.records import Book
from experiments.settings import SIZES
from experiments.trial import Options, key


@pytest.mark.parametrize("size", SIZES)
def test_each_size_has_trials_with_names_of_their_own(size: str) -> None:
    trials = COST.plan(Options(size), Book(size)).trials

    assert len({trial.label for trial in trials}) == len({key(t) for t in trials}) == len(trials)
    assert {type(trial).__name__ for trial in trials} == {
        "TrainTrial",
        "FileTrial",
        "ConversionTrial",
        "ServeTrial",
    }
    assert all(trial.steps >= 1 and trial.guess > 0 for trial in trials)


def test_its_trials_run_alone_since_they_are_timed() -> None:
    assert EXPERIMENTS["cost"].alone


def test_small_fits_into_twenty_minutes() -> None:
    trials = COST.plan(Options("small"), Book("small")).trials

    assert sum(trial.guess * trial.steps for trial in trials) < 20 * 60
