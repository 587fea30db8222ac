"""Sentences that follow from numbers: each rule has words for every outcome."""

from __future__ import annotations

from experiments.evidence.blocks import Aim
from experiments.evidence.formatting import Unit
from experiments.statistics import Interval


def against_zero(ours: str, theirs: str, found: Interval, unit: Unit) -> str:
    """Returns whether `ours` differs clearly from `theirs`; `found` is ours minus theirs."""
    numbers = unit.called(unit.difference(found))
    if found.low is None or found.high is None:
        return f"{ours} minus {theirs}: {numbers}, from one seed: no interval, so nothing is shown."
    if found.low > 0:
        return f"{ours} is clearly above {theirs}: {numbers}."
    if found.high < 0:
        return f"{ours} is clearly below {theirs}: {numbers}."
    return (
        f"{ours} is not clearly above or below {theirs}: {numbers}; the interval has 0 in it, "
        "so the comparison shows nothing."
    )


def lower_end_above(what: str, found: Interval, bound: float, unit: Unit) -> Aim:
    """Returns the aim that a difference's lower end lies above `bound`."""
    aim = f"lower end above {unit.called(unit.signed(bound))}"
    numbers = unit.called(unit.difference(found))
    return Aim(what, aim, numbers, None if found.low is None else found.low > bound)


def at_most(what: str, found: float, bound: float, text: str) -> Aim:
    """Returns the aim that a number is at most `bound`; `text` is a format, as "{:.2f} times"."""
    return Aim(what, f"at most {text.format(bound)}", text.format(found), found <= bound)
