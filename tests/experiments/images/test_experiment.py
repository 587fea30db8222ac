"""The plan: a base first, then rates, then fresh seeds; equal numbers of trials a method."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from experiments.images.experiment import plan
from experiments.images.trial import ImageTrial, PretextTrial
from experiments.settings import table
from experiments.trial import Json, Options, Trial, key


class Found:
    """Results by key."""

    def __init__(self) -> None:
        self.results: dict[str, Json] = {}

    def get(self, trial: Trial) -> Json | None:
        return self.results.get(key(trial))


def test_the_base_is_trained_before_anything_is_adapted() -> None:
    first = plan(Options("small"), Found())
    assert [type(trial) for trial in first.trials] == [PretextTrial]
    assert len(first.later) == 5 * (4 + 3)


def test_each_method_is_tried_at_as_many_rates_and_reports_with_fresh_seeds() -> None:
    found = Found()
    for _ in range(2):
        for trial in plan(Options("small"), found).trials:
            rate = trial.rate if isinstance(trial, ImageTrial) else 0.0
            found.results[key(trial)] = {"choose": rate}
    trials = [t for t in plan(Options("small"), found).trials if isinstance(t, ImageTrial)]
    tried = Counter(t.method.label for t in trials if not t.report)
    reporting = Counter(t.method.label for t in trials if t.report)
    assert set(tried.values()) == {4}
    assert set(reporting.values()) == {3}
    assert not {t.seed for t in trials if t.report} & {t.seed for t in trials if not t.report}
    assert all(
        t.rate == max(o.rate for o in trials if o.method == t.method) for t in trials if t.report
    )


@pytest.mark.parametrize("size", ["smoke", "small", "medium", "paper"])
def test_every_size_is_configured(size: str) -> None:
    found = plan(Options(size), Found())
    assert found.trials
    assert len({key(trial) for trial in [*found.trials, *found.later]}) == len(
        [*found.trials, *found.later]
    )


@pytest.mark.parametrize("size", ["smoke", "small", "medium", "paper"])
def test_each_grid_doubles_from_rate_to_rate(size: str) -> None:
    given = table("images", size)
    assert set(given["rates"]) == {"fourier", "lora", "head"}
    assert len({len(rates) for rates in given["rates"].values()}) == 1
    for rates in given["rates"].values():
        assert all(b == pytest.approx(2 * a) for a, b in itertools.pairwise(rates))


def test_a_model_by_path_needs_no_pretext() -> None:
    assert all(isinstance(t, ImageTrial) for t in plan(Options("small", "my/vit"), Found()).trials)


def test_the_papers_size_has_the_published_rates() -> None:
    """Of the authors' script for CIFAR-10: 3e-1 of FourierFT, 1e-3 of the head, 9e-5 decay."""
    given = table("images", "paper")
    assert 0.3 in given["rates"]["fourier"]
    trials = [t for t in plan(Options("paper"), Found()).trials if isinstance(t, ImageTrial)]
    assert {(t.decay, t.batch, t.epochs) for t in trials} == {(9e-5, 200, 10)}
    assert {t.head_rate for t in trials if t.method.kind == "fourier"} == {1e-3}
