"""Intervals against SciPy, scikit-learn, closed forms, and how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments import statistics
from experiments.statistics import Interval, contrast, difference, mean_interval
from experiments.text.scoring import Numbers, score

CLASSES = {"accuracy": 2, "pearson": 0, "spearman": 0}


def example(metric: str, seeds: int = 4, rows: int = 60) -> tuple[Numbers, Numbers, Numbers]:
    """Returns two methods' predictions, (seeds, rows), and labels, with ties in the scores."""
    generator = np.random.default_rng(7)
    truth = generator.normal(size=rows)
    noise = generator.normal(size=(2, seeds, rows))
    ours, theirs = truth + noise[0], truth + 1.5 * noise[1]
    if CLASSES[metric]:
        return (ours > 0).astype(float), (theirs > 0).astype(float), (truth > 0).astype(float)
    return ours.round(1), theirs.round(1), truth.round(1)


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.81, 0.84, 0.79, 0.83, 0.86]
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))


def test_one_value_has_no_interval() -> None:
    assert mean_interval([0.5]) == Interval(0.5, None, None)


@pytest.mark.parametrize("metric", CLASSES)
def test_each_resample_is_scored_as_the_examples_drawn_would_be(metric: str) -> None:
    predicted, _, labels = example(metric)
    drawn = np.random.default_rng(1).integers(len(labels), size=(5, len(labels)))
    counts = np.stack([np.bincount(rows, minlength=len(labels)) for rows in drawn]).astype(float)
    found = statistics._counted(metric, predicted, labels)(counts)  # (resamples, seeds)
    wanted = [[score(metric, seed[rows], labels[rows]) for seed in predicted] for rows in drawn]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


@pytest.mark.parametrize("metric", CLASSES)
def test_the_mean_of_a_difference_is_that_of_the_scores(metric: str) -> None:
    ours, theirs, labels = example(metric)
    found = difference(metric, ours, theirs, labels, resamples=200)
    scores = [[score(metric, seed, labels) for seed in method] for method in (ours, theirs)]
    assert found.mean == pytest.approx(np.mean(scores[0]) - np.mean(scores[1]))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high


def test_constant_scores_correlate_with_nothing() -> None:
    _, _, labels = example("pearson")
    flat = np.ones((2, len(labels)))
    for metric in ("pearson", "spearman"):
        assert difference(metric, flat, flat, labels, 50) == Interval(0.0, 0.0, 0.0)


def test_the_same_predictions_differ_by_nothing_at_all() -> None:
    ours, _, labels = example("accuracy")
    assert difference("accuracy", ours, ours, labels, 100) == Interval(0.0, 0.0, 0.0)


def test_one_seed_gives_a_difference_and_no_interval() -> None:
    ours, theirs, labels = example("accuracy", seeds=1)
    found = difference("accuracy", ours, theirs, labels, 50)
    right = (ours == labels).mean() - (theirs == labels).mean()
    assert found.mean == pytest.approx(right)
    assert (found.low, found.high) == (None, None)


def test_what_is_right_gives_the_difference_that_predictions_give() -> None:
    ours, theirs, labels = example("accuracy")
    right = [(each == labels).astype(float) for each in (ours, theirs)]
    found = difference("accuracy", right[0], right[1], np.ones(len(labels)), 50)
    assert found == difference("accuracy", ours, theirs, labels, 50)


def test_without_a_spread_of_seeds_the_interval_is_that_of_paired_proportions() -> None:
    ours, theirs, labels = example("accuracy", seeds=1, rows=2000)
    twice = [np.repeat(each, 2, axis=0) for each in (ours, theirs)]
    found = difference("accuracy", twice[0], twice[1], labels)
    of_each = (ours == labels).astype(float) - (theirs == labels)
    half = 1.96 * of_each.std() / np.sqrt(2000)
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)


def test_intervals_are_the_same_each_time() -> None:
    ours, theirs, labels = example("spearman")
    assert difference("spearman", ours, theirs, labels, 300) == difference(
        "spearman", ours, theirs, labels, 300
    )


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("of_seeds", "of_examples", "of_both"),
    [(0.06, 0.5, 0.3), (0.3, 0.0, 0.0), (0.0, 0.7, 0.0), (0.06, 0.0, 1.0)],
    ids=["as GLUE", "seeds alone", "examples alone", "chance alone"],
)
def test_the_interval_covers_the_truth_at_least_about_as_often_as_it_says(
    seeds: int, of_seeds: float, of_examples: float, of_both: float
) -> None:
    """Two methods of accuracy 0.82 and 0.80 in a probit model, whatever makes their answers vary.

    Of 150 intervals of 95 % at least 135 must hold the difference: fewer come up once in 200 times.
    """
    generator = np.random.default_rng(3)
    trials, rows = 150, 400
    deviation = np.sqrt(1 + of_seeds**2 + of_examples**2 + of_both**2)
    skill = stats.norm.ppf([0.82, 0.80]) * deviation
    covered = 0
    for _ in range(trials):
        right = (  # (methods, seeds, examples)
            skill[:, None, None]
            + generator.normal(size=rows)
            + of_seeds * generator.normal(size=(2, seeds, 1))
            + of_examples * generator.normal(size=(2, 1, rows))
            + of_both * generator.normal(size=(2, seeds, rows))
        ) > 0
        ours, theirs = right.astype(float)
        found = difference("accuracy", ours, theirs, np.ones(rows), resamples=400)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.02 <= found.high
    assert covered >= 0.9 * trials


@pytest.mark.parametrize("metric", CLASSES)
def test_a_difference_of_differences_is_that_of_the_scores(metric: str) -> None:
    ours, theirs, labels = example(metric)
    found = contrast(metric, [ours, ours[::-1]], [theirs, theirs], labels, resamples=50)
    one, other = (
        np.mean([score(metric, seed, labels) for seed in method]) for method in (ours, theirs)
    )
    assert found.mean == pytest.approx(2 * (one - other))


def test_what_is_the_same_on_both_sides_cancels_in_every_resample() -> None:
    ours, theirs, labels = example("pearson")
    found = contrast("pearson", [ours, theirs], [theirs, ours], labels, resamples=50)
    assert [found.mean, *found.ends] == pytest.approx([0, 0, 0])
    alone = difference("pearson", ours, theirs, labels, resamples=50)
    both = contrast("pearson", [ours, theirs], [theirs, theirs], labels, resamples=50)
    assert [both.mean, *both.ends] == pytest.approx([alone.mean, *alone.ends])
