from __future__ import annotations

import math

import pytest

from experiments.cost.model import Point, crossing, errors, fitted, predicted, relative, study
from tests import tolerances

COSTS = {"call": 1e-4, "product": 5e-11, "moved": 3e-10}


def points(sizes: tuple[int, ...] = (10, 100, 1000, 3000)) -> list[Point]:
    """Times that are exactly what COSTS says, over five decades."""
    works = [
        (size, {"call": 1.0, "product": float(size**3 * k), "moved": float(size**2)})
        for size in sizes
        for k in (1, 7)
    ]
    return [Point("exact", size, work, predicted(work, COSTS)) for size, work in works]


def test_a_fit_finds_the_costs_that_made_the_times() -> None:
    found = fitted(points())

    assert found == pytest.approx(COSTS, rel=tolerances.MODEL_F64)


def test_a_unit_never_has_a_negative_cost() -> None:
    falling = [Point("a", k, {"call": 1.0, "moved": float(k)}, 1.0 / k) for k in range(1, 9)]

    assert min(fitted(falling).values()) >= 0


def test_small_times_count_as_much_as_large_ones() -> None:
    """A point of a microsecond that is off moves the fit as one of a second that is."""
    off = [Point("a", 1, {"call": 1.0}, seconds) for seconds in (1e-6, 2e-6)]

    low, high = relative(off, fitted(off))[::-1]

    assert low < 0 < high
    assert max(abs(low), high) < 0.7  # absolute errors would give (2, 0.5): here 0.2 and 0.6


def test_a_unit_that_a_fit_has_not_seen_costs_nothing() -> None:
    assert predicted({"call": 2.0, "other": 1e9}, COSTS) == 2 * COSTS["call"]


def test_a_group_that_is_left_out_is_predicted_by_the_others_alone() -> None:
    others, odd = points(), points((500,))
    slower = [Point("odd", p.group, p.work, 3 * p.measured) for p in odd]

    found = study([*others, *slower], lambda _: False)

    assert found.outside["odd"].median == pytest.approx(2 / 3, rel=tolerances.MODEL_F64)
    assert found.inside["odd"].median < found.outside["odd"].median


def test_held_points_are_predicted_and_not_fitted() -> None:
    slower = [Point("held", p.group, p.work, 2 * p.measured) for p in points()]

    found = study([*points(), *slower], lambda point: point.kind == "held")

    assert found.costs == pytest.approx(COSTS, rel=tolerances.MODEL_F64)
    assert found.inside["held"].worst == pytest.approx(0.5, rel=tolerances.MODEL_F64)


def test_one_group_alone_cannot_be_left_out() -> None:
    found = study(points((10,)), lambda _: False)

    assert found.outside == {}
    assert found.inside["exact"].count == 2


def test_errors_are_absolute() -> None:
    found = errors([-0.5, 0.1, 0.2])

    assert (found.count, found.median, found.worst) == (3, 0.2, 0.5)


@pytest.mark.parametrize(
    ("cheap", "first"),
    [((False, True, True), 2), ((True, False, True), 3), ((True, True, False), None), ((), None)],
)
def test_a_crossing_holds_from_there_to_the_end(cheap: tuple[bool, ...], first: int | None) -> None:
    answers = dict(enumerate(cheap, 1))

    assert crossing(list(answers), lambda place: answers[place]) == first


def test_the_model_is_a_plus_flops_over_f_plus_bytes_over_b() -> None:
    seconds = predicted({"call": 1.0, "product": 4e9, "moved": 1e6}, COSTS)

    assert math.isclose(seconds, 1e-4 + 0.2 + 3e-4)
