"""What curves, bias and further plan: rates of GLUE's choice, and fresh seeds that alone report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments import bias, curves, further
from experiments.text.methods import Fourier
from experiments.text.trial import TextTrial
from experiments.trial import Json, Options, Plan, Results, Trial, distinct

OPTIONS = Options("small")


class Chosen:
    """Results in which every method does best at one rate of its grid."""

    def __init__(self, fourier: float, lora: float) -> None:
        self._best = {"fourier": fourier, "lora": lora}

    def get(self, trial: Trial) -> Json | None:
        assert isinstance(trial, TextTrial)
        return {"choose": float(trial.rate == self._best[trial.method.kind])}


def _reporting(plan: Plan) -> list[TextTrial]:
    return [t for t in distinct(plan.trials) if isinstance(t, TextTrial) and t.report]


def test_rates_of_curves_fall_with_the_root_of_n_except_where_they_are_tried() -> None:
    found: Results = Chosen(0.06, 1e-3)

    plan = curves.plan(OPTIONS, found)

    rates = {t.method.n: t.rate for t in _reporting(plan) if isinstance(t.method, Fourier)}
    assert set(rates) == {50, 100, 200, 600, 768, 1536, 3072, 6144}
    assert rates[600] == rates[768] == rates[6144] == 0.06
    assert rates[50] == pytest.approx(0.06 * (600 / 50) ** 0.5, rel=1e-2)
    assert rates[3072] == pytest.approx(0.06 * (600 / 3072) ** 0.5, rel=1e-2)
    seeds = {t.seed for t in _reporting(plan)}
    assert seeds == {1, 2, 3}


def test_all_bands_take_the_rate_that_was_chosen_without_one() -> None:
    plan = bias.plan(OPTIONS, Chosen(0.24, 1e-3))

    found = _reporting(plan)
    assert {t.rate for t in found} == {0.24}
    assert {t.task for t in found} == {"mrpc", "stsb", "sst2"}
    bands = [t.method.band for t in found if isinstance(t.method, Fourier)]
    assert {band for band in bands if band} == {(0.0, 100.0), (100.0, 100.0), (200.0, 100.0)}
    plain = {
        replace(t, method=replace(t.method, band=None), serve=False)
        for t in found
        if isinstance(t.method, Fourier)
    }
    assert len(plain) == 3 * 3  # tasks, seeds: all else is equal


def test_both_methods_go_further_alike_at_the_rates_that_were_chosen() -> None:
    found = _reporting(further.plan(OPTIONS, Chosen(0.12, 2e-3)))

    rates = {(t.method.kind, t.rate) for t in found}
    assert rates == {("fourier", 0.12), ("lora", 2e-3)}
    assert {(t.task, t.trained_layers, t.epochs) for t in found} == {
        ("mrpc", 0, 8), ("stsb", 0, 6), ("stsb", 3, 18)
    }  # fmt: skip
    assert len(found) == 3 * 2 * 3  # settings, methods, seeds
    assert all(t.serve == (t.method.kind == "fourier") for t in found)


@pytest.mark.parametrize("plan", [curves.plan, bias.plan, further.plan])
def test_no_trial_that_chooses_reports(plan: object) -> None:
    assert callable(plan)
    every = plan(OPTIONS, Chosen(0.06, 1e-3)).trials

    choosing = [t for t in every if isinstance(t, TextTrial) and t.seed == 0]
    assert all(not t.report and not t.serve for t in choosing)
    assert all(t.report for t in every if isinstance(t, TextTrial) and t.seed != 0)
