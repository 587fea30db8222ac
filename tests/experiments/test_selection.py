"""Every method gets as many trials, and the choosing split alone decides."""

from __future__ import annotations

from collections.abc import Mapping

from experiments import selection
from experiments.trial import Json, Trial
from tests.experiments.toys import Toy

RATES = (0.1, 0.2, 0.4)


class Found:
    """Results of toys, by name."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        self._scores = scores

    def get(self, trial: Trial) -> Json | None:
        score = self._scores.get(trial.label)
        return None if score is None else {"choose": score}


def make(rate: float, seed: int, report: bool) -> Toy:
    return Toy(f"{rate} {seed} {report}")


def test_no_rate_is_chosen_before_all_have_run() -> None:
    found = Found({"toy 0.1 0 False": 0.9, "toy 0.2 0 False": 0.1})

    assert selection.chosen_rate(make, RATES, 0, found) is None
    plan = selection.plan(make, RATES, 0, (1, 2), found)
    assert [trial.label for trial in plan.trials] == [f"toy {rate} 0 False" for rate in RATES]
    assert len(plan.later) == 2


def test_the_best_rate_reports_with_fresh_seeds() -> None:
    scores = {0.1: 0.5, 0.2: 0.7, 0.4: 0.6}
    found = Found({f"toy {rate} 0 False": score for rate, score in scores.items()})

    plan = selection.plan(make, RATES, 0, (1, 2), found)

    reporting = [trial.label for trial in plan.trials if trial.label.endswith("True")]
    assert reporting == ["toy 0.2 1 True", "toy 0.2 2 True"]
    assert not plan.later


def test_of_two_equal_rates_the_lower_is_taken() -> None:
    found = Found({f"toy {rate} 0 False": 0.7 for rate in RATES})

    assert selection.chosen_rate(make, RATES, 0, found) == RATES[0]


def test_another_method_takes_the_chosen_rate_times_a_factor() -> None:
    scores = {0.1: 0.5, 0.2: 0.7, 0.4: 0.6}
    found = Found({f"toy {rate} 0 False": score for rate, score in scores.items()})

    def other(rate: float, seed: int, report: bool) -> Toy:
        return Toy(f"other {rate} {seed} {report}")

    plan = selection.at_rate_of(make, RATES, 0, other, 0.5, (1, 2), found)

    assert [trial.label for trial in plan.trials] == [
        "toy other 0.1 1 True",
        "toy other 0.1 2 True",
    ]


def test_another_method_waits_for_the_rate_that_is_not_chosen_yet() -> None:
    plan = selection.at_rate_of(make, RATES, 0, make, 0.5, (1, 2), Found({}))

    assert [trial.label for trial in plan.trials] == [f"toy {rate} 0 False" for rate in RATES]
    assert len(plan.later) == 2
