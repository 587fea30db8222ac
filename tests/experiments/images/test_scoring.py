"""Logits that are not finite are no answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.images.scoring import accuracy

LABELS = np.array([0, 1, 0])


def test_the_largest_logit_is_the_answer() -> None:
    assert accuracy(np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), LABELS) == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_accuracy_is_given_where_a_logit_is_not_finite(value: float) -> None:
    assert math.isnan(accuracy(np.array([[value, value], [0.0, 1.0], [1.0, 0.0]]), LABELS))
