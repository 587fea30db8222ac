"""Settings are read strictly, each size on top of what is common."""

from __future__ import annotations

import pytest

from experiments import settings
from experiments.catalogue import EXPERIMENTS
from experiments.glue import GlueSettings
from experiments.records import Book
from experiments.trial import Options


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("size", settings.SIZES)
def test_every_experiment_can_be_planned_at_every_size(name: str, size: str) -> None:
    plan = EXPERIMENTS[name].plan(Options(size), Book(size))

    assert plan.trials
    assert all(trial.steps >= 1 and trial.guess > 0 for trial in plan.trials)
    labels = [trial.label for trial in plan.trials]
    assert len(set(plan.trials)) == len(set(labels))


def test_a_size_adds_to_what_is_common() -> None:
    found = GlueSettings.of(Options("smoke"))

    assert found.alpha == 150.0
    assert found.n == 50
    assert set(found.tasks) == {"mrpc", "stsb"}


def test_the_command_line_changes_the_model() -> None:
    assert GlueSettings.of(Options("paper", model="elsewhere")).model == "elsewhere"


def test_an_unknown_size_is_an_error_that_says_which_there_are() -> None:
    with pytest.raises(SystemExit, match="smoke, small, medium, paper"):
        settings.table("glue", "huge")
