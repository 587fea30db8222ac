"""How far coefficients carry a weight: the closed forms, for dft2 and Adam.

    ||delta||_F = |alpha| * ||c|| / sqrt(2 * out * in)

by Parseval, since the squares of a cosine over whole periods sum to out * in / 2. Entries that are
mirrors of one another or of themselves make it up to sqrt(2) times as large; that is nothing here,
and `fourier_format.transforms.delta_norms` is exact. Nothing raises: what cannot be computed is NaN
or infinite, and callers hold `numpy.errstate`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import numpy as np

from fourier_format.diagnostics.records import Observation, WatchedTarget
from fourier_format.diagnostics.thresholds import WALK

P = ParamSpec("P")
R = TypeVar("R")

EPSILONS: Final = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7}
"""One unit in the last place of 1.0."""


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """Returns `function` with NumPy silent about overflow, division by zero and NaN."""

    @functools.wraps(function)
    def silent(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return silent


def real(value: float | None) -> np.float64:
    """Returns a number that divides and overflows without raising; NaN for None."""
    try:
        return np.float64(np.nan if value is None else value)
    except OverflowError:
        return np.float64(np.inf)


@quiet
def delta_norm(coefficient_norm: float, alpha: float, shape: tuple[int, int]) -> float:
    """Returns the Frobenius norm of the delta weight, from the norm of its coefficients."""
    cells = real(shape[0]) * real(shape[1])
    return float(abs(real(alpha)) * real(coefficient_norm) / np.sqrt(2 * cells))


@quiet
def relative_change(target: WatchedTarget, coefficient_norm: float) -> float:
    """Returns ||delta||_F / ||W||_F; NaN where the weight is zero or its norm is not known."""
    return beside(target, delta_norm(coefficient_norm, target.alpha, target.shape))


@quiet
def beside(target: WatchedTarget, norm: float) -> float:
    """Returns the norm of a delta weight over the weight's; NaN where that is zero or unknown."""
    return float(real(norm) / (real(target.weight_norm) or np.nan))


@quiet
def furthest_change(target: WatchedTarget, learning_rate: float, steps: int) -> float:
    """Returns the relative change if each of Adam's steps went the same way: a bound."""
    each = real(learning_rate) * abs(real(target.gain)) * np.sqrt(real(target.count))
    return relative_change(target, float(each * real(steps)))


@quiet
def likely_change(target: WatchedTarget, learning_rate: float, steps: int) -> float:
    """Returns the relative change to expect of a zero start after `steps` of Adam."""
    taken = np.minimum(real(steps), WALK * np.sqrt(real(steps)))
    return float(real(furthest_change(target, learning_rate, 1)) * taken)


def change(target: WatchedTarget, seen: Observation) -> np.float64:
    """Returns the relative change as observed, or else as computed; NaN where there is none."""
    if seen.relative_change is not None and target.weight_norm != 0:
        return real(seen.relative_change)
    return real(relative_change(target, seen.coefficient_norm))


@quiet
def expected_at(value: float, step: int, planned_steps: int) -> np.float64:
    """Returns what a change of `value` at `step` grows to by the end, at a walk's pace."""
    left = np.maximum(real(planned_steps) / np.maximum(real(step), 1), 1)
    return np.float64(real(value) * np.sqrt(left))
