"""A model of cost: time is work, counted in units, times what a unit takes; fitted and tested.

    seconds = sum over units of count x seconds of a unit, none below 0

A unit is a call, a multiply-add, a number moved ...; so this is a + flops / F + bytes / B, with a
speed for each sort of operation. Relative errors are minimised, since times span four
decades. The same fits bytes: what a unit holds in place of what it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.optimize import nnls

Costs = Mapping[str, float]
"""Unit -> seconds of one, or bytes."""


@dataclass(frozen=True, slots=True)
class Point:
    """Something that was measured.

    Attributes:
        kind: What errors are told apart by.
        group: What is left out together in cross-validation, such as a width.
        work: Unit -> count.
        measured: What it took: seconds, or bytes.
    """

    kind: str
    group: int
    work: Mapping[str, float]
    measured: float


@dataclass(frozen=True, slots=True)
class Errors:
    """How far predictions are from measurements, relative to these: absolute values.

    Attributes:
        count: Points.
        median: Half of them are within this.
        worst: All of them are.
    """

    count: int
    median: float
    worst: float


def fitted(points: Sequence[Point]) -> dict[str, float]:
    """Returns the seconds of each unit: least squares of relative errors, none below 0."""
    units = sorted({unit for point in points for unit, count in point.work.items() if count})
    work = np.array([[p.work.get(unit, 0.0) / p.measured for unit in units] for p in points])
    sizes = work.max(axis=0)  # counts differ by nine decades
    found = nnls(work / sizes, np.ones(len(points)))[0] / sizes
    return dict(zip(units, map(float, found), strict=True))


def predicted(work: Mapping[str, float], costs: Costs) -> float:
    """Returns the seconds of some work; a unit that has no cost takes none."""
    return sum(costs.get(unit, 0.0) * count for unit, count in work.items())


def relative(points: Iterable[Point], costs: Costs) -> list[float]:
    """Returns (predicted - measured) / measured of each point."""
    return [predicted(p.work, costs) / p.measured - 1 for p in points]


def left_out(points: Sequence[Point], held: Callable[[Point], bool]) -> list[tuple[Point, float]]:
    """Returns each point with its relative error by a fit without its group; `held`, see study."""
    found = []
    for group in sorted({point.group for point in points}):
        rest = [point for point in points if point.group != group and not held(point)]
        own = [point for point in points if point.group == group]
        if rest:
            found += list(zip(own, relative(own, fitted(rest)), strict=True))
    return found


def errors(values: Sequence[float]) -> Errors:
    """Returns the summary of relative errors."""
    sizes = np.abs(values)
    return Errors(len(values), float(np.median(sizes)), float(sizes.max()))


def by_kind(found: Iterable[tuple[Point, float]]) -> dict[str, Errors]:
    """Returns the summary of each kind's relative errors."""
    values: dict[str, list[float]] = {}
    for point, error in found:
        values.setdefault(point.kind, []).append(error)
    return {kind: errors(own) for kind, own in values.items()}


@dataclass(frozen=True, slots=True)
class Study:
    """A fitted model, and how well it explains.

    Attributes:
        costs: Seconds of each unit.
        inside: Kind -> errors of the fit to all points.
        outside: Kind -> errors at points whose group was left out of the fit.
    """

    costs: dict[str, float]
    inside: dict[str, Errors]
    outside: dict[str, Errors]


def study(points: Sequence[Point], held: Callable[[Point], bool]) -> Study:
    """Returns the model of `points`; those that are `held` are only predicted, never fitted."""
    costs = fitted([point for point in points if not held(point)])
    inside = zip(points, relative(points, costs), strict=True)
    return Study(costs, by_kind(inside), by_kind(left_out(points, held)))


Place = TypeVar("Place")


def crossing(places: Sequence[Place], cheaper: Callable[[Place], bool]) -> Place | None:
    """Returns the first place from which on something is cheaper, to the last; None if never."""
    first: Place | None = None
    for place in places:
        if not cheaper(place):
            first = None
        elif first is None:
            first = place
    return first
