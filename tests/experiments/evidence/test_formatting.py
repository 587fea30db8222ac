from __future__ import annotations

import pytest

from experiments.evidence import formatting
from experiments.evidence.findings import against_zero, among_many, at_most, lower_end_above
from experiments.evidence.formatting import UNITS
from experiments.statistics import Interval

ACCURACY = UNITS["accuracy"]
PEARSON = UNITS["pearson"]


def test_values_and_differences_are_written_with_the_metrics_own_digits() -> None:
    assert ACCURACY.interval(Interval(0.8431, 0.8377, 0.8486)) == "84.3 [83.8, 84.9]"
    assert ACCURACY.difference(Interval(-0.004, -0.0124, 0.003)) == "-0.4 [-1.2, +0.3]"
    assert PEARSON.interval(Interval(0.87123, None, None)) == "0.8712"
    assert ACCURACY.signed(-0.0001) == "+0.0"


@pytest.mark.parametrize(
    ("written", "number", "text"),
    [
        (formatting.size, 512, "512 B"),
        (formatting.size, 14_200, "14.2 kB"),
        (formatting.size, 131e6, "131 MB"),
        (formatting.seconds, 0.0123, "12.3 ms"),
        (formatting.seconds, 4.12, "4.1 s"),
        (formatting.seconds, 720, "12 min"),
        (formatting.seconds, 11_520, "3.2 h"),
        (formatting.memory, 2**30, "1,024 MiB"),
        (formatting.count, 3600, "3,600"),
        (formatting.significant, 1.234e-7, "1.23e-07"),
    ],
)
def test_numbers_are_written_for_people(written: object, number: float, text: str) -> None:
    assert callable(written)
    assert written(number) == text


def test_a_list_in_a_sentence() -> None:
    assert formatting.listed(["a"]) == "a"
    assert formatting.listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (Interval(0.02, 0.01, 0.03), "clearly above"),
        (Interval(-0.02, -0.03, -0.01), "clearly below"),
        (Interval(0.01, -0.01, 0.03), "no clear difference"),
        (Interval(0.0, 0.0, 0.0), "no clear difference"),
        (Interval(0.02, None, None), "nothing is shown"),
    ],
)
def test_a_difference_is_clear_where_its_interval_leaves_out_zero(
    found: Interval, word: str
) -> None:
    assert word in against_zero("A", "B", found, ACCURACY)


def test_aims_are_reached_missed_or_cannot_be_told() -> None:
    def reached(low: float | None) -> bool | None:
        return lower_end_above("A", Interval(0.0, low, 0.1), -0.02, ACCURACY).reached

    assert (reached(-0.019), reached(-0.021), reached(None)) == (True, False, None)
    assert at_most("A", 1.2, 1.15, "{:.2f} times").reached is False


def test_clear_differences_are_counted_beside_those_of_chance() -> None:
    found = [
        Interval(1, 0.5, 2),
        Interval(-1, -2, -0.5),
        Interval(0, -1, 1),
        Interval(1, None, None),
    ]
    assert "Of 4 differences 1 are clearly above 0 and 1 clearly below" in among_many(found)
