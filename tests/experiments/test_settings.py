"""Settings are read strictly, each size on top of what is common."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import BertConfig

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


def _encoder(folder: Path, width: int) -> str:
    BertConfig(hidden_size=width, num_hidden_layers=1, num_attention_heads=4).save_pretrained(
        folder
    )
    return str(folder)


def test_the_command_line_changes_the_model(tmp_path: Path) -> None:
    model = _encoder(tmp_path / "roberta-base", 768)

    found = GlueSettings.of(Options("paper", model=model))

    assert found.model == model
    assert found.alphas["mrpc"] == 141.0


def test_a_model_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    model = _encoder(tmp_path / "roberta-large", 1024)

    found = GlueSettings.of(Options("paper", model=model))

    assert (found.width, found.alphas["mrpc"], found.tasks["sst2"]) == (1024, 120.0, 10)


def test_a_model_of_another_width_wants_a_table(tmp_path: Path) -> None:
    model = _encoder(tmp_path / "narrow", 64)

    with pytest.raises(SystemExit, match=r'64 wide.*768.*\[paper\.for_model\."narrow"\]'):
        GlueSettings.of(Options("paper", model=model))


def test_an_unknown_size_is_an_error_that_says_which_there_are() -> None:
    with pytest.raises(SystemExit, match="smoke, small, medium, paper"):
        settings.table("glue", "huge")
