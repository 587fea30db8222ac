"""Sentences that follow from numbers: each rule has words for every outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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


def lower_end_above(
    what: str, found: Interval | None, bound: float, unit: Unit, lacking: str = ""
) -> Aim:
    """Returns the aim that a difference's lower end lies above `bound`.

    Args:
        what: Which difference.
        found: None where there is none.
        bound: 0 for one that is clear.
        unit: Of the metric.
        lacking: Why it cannot be told as yet; "" if nothing lacks.
    """
    above = f"lower end above {unit.called(unit.signed(bound))}" if bound else "clearly above 0"
    if found is None:
        return Aim(what, above, lacking or "no seed of both has reported", None)
    numbers = unit.called(unit.difference(found, bound))
    if lacking or found.low is None:
        return Aim(what, above, f"{numbers}; {lacking or 'one seed gives no interval'}", None)
    return Aim(what, above, numbers, found.low > bound)


def among_many(found: Sequence[Interval], of: str) -> list[str]:
    """Returns how many of several differences are clear, beside how many chance alone gives.

    Those of one seed have no interval and are not counted; of fewer than two nothing is said.

    Args:
        found: The differences that answer one question.
        of: What they are, as "FourierFT minus LoRA".
    """
    known = [each for each in found if each.low is not None]
    above = sum(each.low is not None and each.low > 0 for each in known)
    below = sum(each.high is not None and each.high < 0 for each in known)
    if len(known) < 2:
        return []
    chance = 0.05 * len(known)
    text = (
        f"{len(known)} differences, {of}: {above} clearly above 0, {below} clearly below. If "
        f"nothing differed, chance would give {chance:.2g} of {len(known)} on average, or fewer."
    )
    return [text]


def alike(what: str, values: Mapping[str, float], most: float = 1.5) -> str:
    """Returns whether the largest of `values` is at most `most` times the smallest, a line."""
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    ratio = values[high] / values[low] if values[low] else math.inf
    said = "alike" if ratio <= most else "not alike"
    return (
        f"- {what}: from {values[low]:.3g} ({low}) to {values[high]:.3g} ({high}), a factor of "
        f"{ratio:.3g}: {said} (alike is a factor of at most {most:g})."
    )


def verdict(reached: bool | None) -> str:
    """Returns an aim's outcome in words."""
    return {True: "reached", False: "not reached", None: "cannot be told"}[reached]
