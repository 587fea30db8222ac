"""Parity: as many rates for each, chosen without the test split, then fresh seeds."""

from typing import Any

import pytest

from experiments.causal.methods import Lora
from experiments.generation.plan import GENERATION, GenerationSettings
from experiments.generation.trial import GenerationTrial
from experiments.settings import SIZES
from experiments.trial import Json, Options, Trial


class Found:
    """Results that say that the second rate is best."""

    def get(self, trial: Any) -> Json | None:
        return {"choose": -abs(trial.rate - _second(trial))}


class Nothing:
    """No results."""

    def get(self, _: Trial) -> Json | None:
        return None


def _second(trial: GenerationTrial) -> float:
    if trial.method is None:
        return 0.0
    return GenerationSettings.of(Options("small")).rates[trial.method.kind][1]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_a_plan(size: str) -> None:
    found = GENERATION.plan(Options(size), Nothing())

    choosing = [trial for trial in found.trials if isinstance(trial, GenerationTrial)]
    kinds = [trial.method.kind for trial in choosing if trial.method is not None]
    assert kinds.count("fourier") == kinds.count("lora") > 0
    assert all(not trial.report for trial in choosing if trial.method is not None)


def test_the_best_rate_reports_with_fresh_seeds() -> None:
    plan = GENERATION.plan(Options("small"), Found())

    reporting = [t for t in plan.trials if isinstance(t, GenerationTrial) and t.report]
    assert {t.test_rows for t in reporting} == {200}
    assert {t.method.kind if t.method else None for t in reporting} == {None, "fourier", "lora"}
    assert all(t.rate == _second(t) for t in reporting)
    for kind in ("fourier", "lora"):
        assert [t.seed for t in reporting if t.method and t.method.kind == kind] == [1, 2, 3]
    assert not plan.later


def test_another_model_can_be_given() -> None:
    plan = GENERATION.plan(Options("paper", "some/gpt2-large"), Nothing())

    assert {getattr(trial, "model", None) for trial in plan.trials} == {"some/gpt2-large"}


def test_lora_is_that_of_its_own_paper_at_the_papers_size() -> None:
    """Hu et al., E2E, GPT-2 medium: r 4, alpha 32, dropout 0.1, and the rate is among those tried.

    Each method's published rate has the same place among its rates.
    """
    found = GenerationSettings.of(Options("paper"))

    trials = GENERATION.plan(Options("paper"), Nothing()).trials
    methods = {t.method for t in trials if isinstance(t, GenerationTrial) and t.method}
    assert Lora(4, 32.0, 0.1) in methods
    assert found.rates["lora"].index(2e-4) == found.rates["fourier"].index(2e-2) == 1
    small = GenerationSettings.of(Options("small"))
    assert (small.lora_alpha, small.lora_dropout) == (2 * small.rank, 0.0)
