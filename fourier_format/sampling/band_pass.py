"""Band-pass entries: uniform cells kept with the paper's probability, without replacement.

    p(u, v) = exp(-((D^2 - centre^2) / (D * width))^2),  D = distance of (u, v) to frequency zero

Source: arXiv 2405.03003, Eq. 5; spec/registry.md, section 3.2, where each arithmetic step is fixed
so that every implementation accepts the same cells.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fourier_format.adapter import Array
from fourier_format.errors import UsageError, Violation
from fourier_format.sampling import splitmix64
from fourier_format.sampling.budget import Budget

GENERATOR: Final = "splitmix64-rejection"
MAX_CANDIDATES: Final = 2**26
_EXP_TERMS: Final = 10
_EXP_HALVINGS: Final = 10
_BATCH: Final = 2**16
_STEPS_A_CANDIDATE: Final = 4
"""Of a budget: a candidate costs 60 ns."""


def draw(
    shape: tuple[int, int],
    count: int,
    seed: int,
    centre: float,
    width: float,
    budget: Budget | None = None,
) -> Array:
    """Returns (count,) distinct flat indices u * in + v, int64, in the order of acceptance.

    Raises:
        UsageError: The band holds too few cells, or centre or width is not allowed.
        BudgetSpentError: It takes more candidates than the budget has left.
    """
    budget = budget or Budget()
    if not (np.isfinite(centre) and np.isfinite(width) and centre >= 0 and width > 0):
        raise _refused("centre must be >= 0 and width > 0", f"centre {centre}, width {width}")
    chosen: dict[int, None] = {}
    for start in range(0, MAX_CANDIDATES, _BATCH):
        budget.spend(_STEPS_A_CANDIDATE * _BATCH)
        words = splitmix64.words(seed, 2 * start, 2 * _BATCH)
        cells = splitmix64.bounded(words[0::2], shape[0] * shape[1]).astype(np.int64)
        limits = thresholds(cells, shape, centre, width)
        accepted = (words[1::2] >> np.uint64(32)).astype(np.float64) < limits
        for cell in cells[accepted].tolist():
            chosen.setdefault(cell)
            if len(chosen) == count:
                return np.fromiter(chosen, np.int64, count)
    problem = f"the band gave {len(chosen)} of {count} entries in {MAX_CANDIDATES} tries"
    raise _refused(problem, f"centre {centre}, width {width}")


def thresholds(cells: Array, shape: tuple[int, int], centre: float, width: float) -> Array:
    """Returns what the 32-bit words of candidate `cells` must be below, float64; NaN takes none."""
    threshold: Array = np.floor(_probability(cells, shape, centre, width) * 2.0**32)
    return threshold


def _probability(cells: Array, shape: tuple[int, int], centre: float, width: float) -> Array:
    """Returns Eq. 5 for flat `cells`, float64; the order of operations is normative."""
    out, in_ = shape
    u, v = cells // in_, cells % in_
    u, v = np.minimum(u, out - u), np.minimum(v, in_ - v)
    squared = u.astype(np.float64) * u + v.astype(np.float64) * v
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        difference = squared - centre * centre
        scale = squared * (width * width)  # 0 * infinity for a width of 1e200
        exponent = difference * difference / scale
    exponent[squared == 0] = 0.0 if centre == 0 else np.inf
    return _exp_minus(exponent)


def _exp_minus(x: Array) -> Array:
    """Returns exp(-x) for x >= 0 by float64 operations that every language has; 0 above 40."""
    small = np.where(x > 40, 0.0, x) / 2.0**_EXP_HALVINGS
    value = np.ones_like(small)
    for k in range(_EXP_TERMS, 0, -1):
        value = 1.0 - small / k * value
    for _ in range(_EXP_HALVINGS):
        value = value * value
    return np.where(x > 40, 0.0, value)


def _refused(problem: str, got: str) -> UsageError:
    return UsageError(Violation("E-FIELD-VALUE", "band-pass", problem, got))
