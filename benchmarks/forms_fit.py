"""From what `forms.py` measured to a table of costs, and how well that predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from forms_graphs import TARGETS
from measure import Json, rounded
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import nnls

from fourier_runtimes.costs import UNITS, Group, Work, dense, factored, inputs, linear, spectral

Array = NDArray[Any]


class Point(NamedTuple):
    """What one form took, beside the base: nanoseconds, for `fed` of `rows` rows."""

    form: str
    width: int
    n: int
    rows: int
    fed: int
    tokens: int
    ns: float
    base_ns: float

    @property
    def group(self) -> Group:
        return Group((self.width, self.width), self.n, len(TARGETS))

    @property
    def place(self) -> list[float]:
        """Where it lies, for interpolation."""
        sizes = (self.width, self.n, self.rows, self.fed, self.tokens)
        return [float(np.log2(size)) for size in sizes]


WORKS: Final[Mapping[str, Callable[[Point], Work]]] = {
    "base": lambda p: {"run": 1, **linear(p.group.weights, p.rows * p.tokens)},
    "inputs": lambda p: inputs(p.group.weights, p.rows * p.tokens),
    "dense": lambda p: dense(p.group.weights, p.fed, p.rows * p.tokens),
    "factored": lambda p: factored(p.group, p.rows * p.tokens),
    "by_row": lambda p: spectral(p.group, p.fed, p.rows * p.tokens, by_token=False),
    "by_token": lambda p: spectral(p.group, p.fed, p.rows * p.tokens, by_token=True),
}


def fitted(points: Sequence[Point]) -> tuple[Json, Json]:
    """The nanoseconds of each unit of each form, and how well they predict.

    Least squares of the relative error of the whole layer, none below 0. Errors are of points that
    were left out of the fit, and for comparison those of interpolation between all the others.
    """
    forms, errors = {}, {}
    for form, work in WORKS.items():
        own = [p for p in points if p.form == form]
        units = UNITS[form]
        work_of = np.array([[work(p).get(unit, 0.0) for unit in units] for p in own])
        whole = np.array([p.ns for p in own])
        added = whole - np.array([p.base_ns if form != "base" else 0.0 for p in own])
        forms[form] = dict(zip(units, map(rounded, _solved(work_of, added, whole)), strict=True))
        errors[form] = {
            "model": _spread(_left_out(work_of, added, whole)),
            "interpolation": _spread(_interpolated(own, form)),
            "points": len(own),
        }
    return forms, errors


def fitted_making(form: str, works: Sequence[Work], ns: Sequence[float]) -> Json:
    """The nanoseconds of each unit of making something, by the same least squares."""
    units, whole = UNITS[form], np.array(ns)
    work_of = np.array([[work.get(unit, 0.0) for unit in units] for work in works])
    return dict(zip(units, map(rounded, _solved(work_of, whole, whole)), strict=True))


def _solved(work: Array, added: Array, whole: Array) -> list[float]:
    scaled = work / whole[:, None]
    sizes = scaled.max(axis=0)
    sizes[sizes == 0] = 1.0
    return [float(v) for v in nnls(scaled / sizes, added / whole)[0] / sizes]


def _left_out(work: Array, added: Array, whole: Array) -> Array:
    """Relative errors of the whole layer's time, each point by a fit without it."""
    errors = []
    for at in range(len(whole)):
        rest = np.arange(len(whole)) != at
        ns = np.array(_solved(work[rest], added[rest], whole[rest]))
        errors.append((work[at] @ ns - added[at]) / whole[at])
    return np.array(errors)


def _interpolated(points: Sequence[Point], form: str) -> Array:
    """The same of the logarithm over the base, linear radial functions between all other points."""
    places = np.array([p.place for p in points])
    moving = np.ptp(places, axis=0) > 0
    values = np.log([p.ns / (1.0 if form == "base" else p.base_ns) for p in points])
    errors = []
    for at in range(len(points)):
        rest = np.arange(len(points)) != at
        _, once = np.unique(places[rest], axis=0, return_index=True)
        known = places[rest][once][:, moving]
        found = RBFInterpolator(known, values[rest][once], kernel="linear", degree=0)(
            places[at : at + 1, moving]
        )
        errors.append(float(np.exp(found[0] - values[at]) - 1))
    return np.array(errors)


def _spread(errors: Array) -> Json:
    found = np.abs(errors)
    return {
        "median": rounded(float(np.median(found))),
        "p90": rounded(float(np.quantile(found, 0.9))),
    }
