"""Scores are the peers' own, by hand where that is short."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.text.scoring import others, predictions, score

LABELS = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
SAID = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])  # 3 right of class 1, 1 missed, 1 wrongly said
EXPECTED = {
    "accuracy": 4 / 6,
    "f1": 2 * 3 / (2 * 3 + 1 + 1),
    "matthews": (3 * 1 - 1 * 1) / math.sqrt(4 * 4 * 2 * 2),
}


@pytest.mark.parametrize("metric", EXPECTED)
def test_classes_are_scored_as_by_hand(metric: str) -> None:
    assert score(metric, SAID, LABELS) == pytest.approx(EXPECTED[metric])


def test_correlations_are_of_values_and_of_ranks() -> None:
    labels = np.array([0.1, 0.2, 0.4, 0.9])
    said = np.exp(9 * labels)

    assert score("spearman", said, labels) == pytest.approx(1)
    assert score("pearson", said, labels) == pytest.approx(np.corrcoef(said, labels)[0, 1])


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_correlation_of_equal_predictions_is_zero(metric: str) -> None:
    assert score(metric, np.ones(4), np.arange(4.0)) == 0


def test_one_logit_is_a_score_and_several_are_a_class() -> None:
    assert predictions(np.array([[0.25], [-3.0]])).tolist() == [0.25, -3.0]
    assert predictions(np.array([[0.2, 0.1], [-3.0, 4.0]])).tolist() == [0.0, 1.0]
    assert (others(0), others(2)) == (("spearman",), ("f1",))
