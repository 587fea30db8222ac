"""Groups as marks of a picture."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Points
from experiments.evidence.trainings import Group, metric, unit


def means(
    name: str,
    places: Sequence[float],
    found: Sequence[Group],
    colour: int | None = None,
    *,
    joined: bool = False,
) -> Points:
    """Returns the mean of each group with its interval, if any has one, and a dot for each seed."""
    factor, measured = unit(found[0].task).factor, metric(found[0].task)
    intervals = [group.mean(measured) for group in found]
    ends = [] if all(each.low is None for each in intervals) else [e.ends for e in intervals]
    return Points(
        name,
        places,
        [factor * each.mean for each in intervals],
        [factor * low for low, _ in ends],
        [factor * high for _, high in ends],
        [[factor * value for value in group.values(measured)] for group in found],
        colour,
        joined,
    )
