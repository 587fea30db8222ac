from __future__ import annotations

import pytest

from experiments.evidence import formatting
from experiments.evidence.findings import against_zero, alike, among_many, lower_end_above
from experiments.evidence.formatting import UNITS
from experiments.statistics import Interval

ACCURACY = UNITS["accuracy"]
PEARSON = UNITS["pearson"]


def test_values_and_differences_are_written_with_the_metrics_own_digits() -> None:
    assert ACCURACY.interval(Interval(0.8431, 0.8377, 0.8486)) == "84.3 [83.8, 84.9]"
    assert ACCURACY.difference(Interval(-0.004, -0.0124, 0.003)) == "-0.4 [-1.2, +0.3]"
    assert PEARSON.interval(Interval(0.87123, None, None)) == "0.8712"


def test_a_difference_has_so_many_digits_that_each_ends_sign_shows() -> None:
    assert ACCURACY.difference(Interval(0.004, -0.0002, 0.008)) == "+0.40 [-0.02, +0.80]"
    assert ACCURACY.difference(Interval(0.0001, -0.01, 0.01)) == "+0.01 [-1.00, +1.00]"
    assert ACCURACY.signed(-0.0001) == "-0.01"


def test_nothing_at_all_has_no_sign() -> None:
    assert ACCURACY.difference(Interval(0.0, 0.0, 0.0)) == "0.0 [0.0, 0.0]"
    assert ACCURACY.difference(Interval(1e-17, -1e-17, 0.01)) == "0.0 [0.0, +1.0]"


def test_beside_an_aim_digits_show_on_which_side_of_it_an_end_lies() -> None:
    found = Interval(0.0, -0.01998, 0.02)
    assert ACCURACY.difference(found) == "0.0 [-2.0, +2.0]"
    assert ACCURACY.difference(found, -0.02) == "0.000 [-1.998, +2.000]"


@pytest.mark.parametrize(
    ("written", "number", "text"),
    [
        (formatting.size, 512, "512 B"),
        (formatting.size, 14_200, "14.2 kB"),
        (formatting.size, 131e6, "131 MB"),
        (formatting.seconds, 0.0123, "12.3 ms"),
        (formatting.seconds, 4.12, "4.1 s"),
        (formatting.seconds, 0.9994, "999 ms"),
        (formatting.seconds, 0.9996, "1.0 s"),
        (formatting.seconds, 9.97, "10 s"),
        (formatting.size, 999_400, "999 kB"),
        (formatting.size, 999_960, "1.0 MB"),
        (formatting.seconds, 720, "12 min"),
        (formatting.seconds, 11_520, "3.2 h"),
        (formatting.memory, 2**30, "1,024 MiB"),
        (formatting.count, 3600, "3,600"),
        (formatting.significant, 1.234e-7, "1.23e-07"),
        (formatting.power, 1e-4, "1e-4"),
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
    assert lower_end_above("A", None, 0.0, ACCURACY).reached is None


def test_clear_differences_are_counted_beside_those_of_chance() -> None:
    found = [
        Interval(1, 0.5, 2),
        Interval(-1, -2, -0.5),
        Interval(0, -1, 1),
        Interval(1, None, None),
    ]
    (said,) = among_many(found, "A minus B")
    assert said.startswith("3 differences, A minus B: 1 clearly above 0, 1 clearly below. ")
    assert "0.15 of 3 on average" in said


def test_of_fewer_than_two_intervals_nothing_is_counted() -> None:
    one_seed = Interval(1, None, None)
    assert among_many([one_seed, one_seed], "A minus B") == []
    assert among_many([one_seed, Interval(1, 0.5, 2)], "A minus B") == []


def test_an_aim_for_which_something_lacks_cannot_be_told_and_says_why() -> None:
    found = lower_end_above("A", Interval(0.1, 0.05, 0.2), 0.0, ACCURACY, "3 of 5 seeds")
    assert found.reached is None
    assert found.found.endswith("; 3 of 5 seeds")
    found = lower_end_above("A", Interval(0.1, None, None), 0.0, ACCURACY)
    assert found.found.endswith("; one seed gives no interval")


def test_no_end_of_an_interval_lies_where_no_value_can() -> None:
    """Student's interval of 0.99 and 1 reaches beyond 100 %."""
    assert ACCURACY.interval(ACCURACY.mean([0.99, 1.0])) == "99.5 [93.1, 100.0]"
    assert PEARSON.mean([0.9, -0.9]).ends == (-1, 1)
    assert ACCURACY.mean([0.5]) == Interval(0.5, None, None)


def test_numbers_are_alike_up_to_a_factor_that_is_said() -> None:
    assert "a factor of 1.4: alike" in alike("Norms", {"a": 1.0, "b": 1.4, "c": 1.2})
    assert "(b), a factor of 1.6: not alike" in alike("Norms", {"a": 1.0, "b": 1.6})
    assert "not alike" in alike("Norms", {"a": 0.0, "b": 1.6})
