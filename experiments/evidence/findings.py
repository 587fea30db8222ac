"""Sentences that follow from numbers: each rule has words for every outcome."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim
from experiments.evidence.formatting import Unit
from experiments.statistics import Interval


def against_zero(ours: str, theirs: str, found: Interval, unit: Unit) -> str:
    """Returns whether `ours` differs clearly from `theirs`, a line of a list.

    `found` is ours minus theirs. "Clearly" means that its interval leaves out 0.
    """
    numbers = unit.called(unit.difference(found))
    if found.low is None or found.high is None:
        said = f"{numbers}, from one seed: no interval, so nothing is shown"
    elif found.low > 0:
        said = f"clearly above, by {numbers}"
    elif found.high < 0:
        said = f"clearly below, by {numbers}"
    else:
        said = f"no clear difference, {numbers}"
    return f"- {ours} against {theirs}: {said}."


def lower_end_above(what: str, found: Interval, bound: float, unit: Unit) -> Aim:
    """Returns the aim that a difference's lower end lies above `bound`."""
    aim = f"lower end above {unit.called(unit.signed(bound))}"
    numbers = unit.called(unit.difference(found))
    return Aim(what, aim, numbers, None if found.low is None else found.low > bound)


def at_most(what: str, found: float, bound: float, text: str) -> Aim:
    """Returns the aim that a number is at most `bound`; `text` is a format, as "{:.2f} times"."""
    return Aim(what, f"at most {text.format(bound)}", text.format(found), found <= bound)


def among_many(found: Sequence[Interval]) -> str:
    """Returns how many of several differences are clear, beside how many chance alone gives."""
    above = sum(each.low is not None and each.low > 0 for each in found)
    below = sum(each.high is not None and each.high < 0 for each in found)
    chance = 0.05 * len(found)
    return (
        f"Of {len(found)} differences {above} are clearly above 0 and {below} clearly below; if "
        f"there were none at all, {chance:.2g} of 95 % intervals would still leave 0 out."
    )
