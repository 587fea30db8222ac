"""Intervals: of a mean over seeds, and of the difference of two methods on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.fixed import SEED

Numbers = npt.NDArray[np.float64]

RESAMPLES = 10_000
_LEVEL = 0.95
_CHUNK = 1000  # resamples at a time: 1000 x 1725 counts are 14 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the ends of its 95 % interval; None of a single value, which has none."""

    mean: float
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends; the mean twice if it has none."""
        low = self.mean if self.low is None else self.low
        return low, self.mean if self.high is None else self.high

    def within(self, least: float, most: float) -> Interval:
        """Returns it with ends that lie between `least` and `most`, as all values do."""
        low, high = (None if end is None else min(max(end, least), most)
                     for end in (self.low, self.high))  # fmt: skip
        return Interval(self.mean, low, high)


def mean_interval(values: Sequence[float]) -> Interval:
    """Returns the mean over seeds, with Student's interval."""
    from scipy import stats

    found = np.asarray(values, np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, None, None)
    error = found.std(ddof=1) / np.sqrt(len(found))
    half = float(error * stats.t.ppf((1 + _LEVEL) / 2, len(found) - 1))
    return Interval(mean, mean - half, mean + half)


def difference(
    metric: str, ours: Numbers, theirs: Numbers, labels: Numbers, resamples: int = RESAMPLES
) -> Interval:
    """Returns the metric of `ours` minus that of `theirs`, a mean over seeds, with its interval.

    Paired: row s of both is the same seed. Each resample draws the examples with replacement, for
    all seeds and both methods alike, and adds a draw of the error of the mean over seeds. That one
    is Student's: 3 or 5 seeds drawn with replacement spread too little, and an interval of such
    resamples covered the truth in 82 of 100 cases where seeds differ much. The interval is of
    percentiles. Without a spread of seeds it is the bootstrap over examples, without one of
    examples Student's over seeds; what a seed does to single examples counts in both, so that it
    is rather too wide than too narrow. One seed has no interval: nobody knows what others give.

    Args:
        metric: "accuracy", "pearson" or "spearman".
        ours: Predictions, (seeds, examples); of accuracy also 1 where they are right.
        theirs: The other method's, (seeds, examples).
        labels: (examples,); ones where predictions say what is right.
        resamples: How many.
    """
    return contrast(metric, [ours], [theirs], labels, resamples)


def contrast(
    metric: str,
    plus: Sequence[Numbers],
    minus: Sequence[Numbers],
    labels: Numbers,
    resamples: int = RESAMPLES,
) -> Interval:
    """Returns the metric's sum over `plus` minus that over `minus`, as `difference` does for two.

    Two of each give a difference of differences, all of the same seeds on the same examples.
    """
    read = [_readable(each) for each in (*plus, *minus)]
    signs = (1.0,) * len(plus) + (-1.0,) * len(minus)
    return _contrast(metric, signs, _readable(labels), *read, resamples=resamples)


_Read = tuple[tuple[int, ...], bytes]


def _readable(found: Numbers) -> _Read:
    return found.shape, found.astype(np.float64).tobytes()


@lru_cache(maxsize=256)  # a second each, and a page asks for the same ones several times
def _contrast(
    metric: str, signs: tuple[float, ...], labels: _Read, *read: _Read, resamples: int
) -> Interval:
    truth, *every = (np.frombuffer(data).reshape(shape) for shape, data in (labels, *read))
    seeds, examples = every[0].shape
    counted = [_counted(metric, predicted, truth) for predicted in every]

    def of(weights: Numbers) -> Numbers:
        terms = [sign * each(weights) for sign, each in zip(signs, counted, strict=True)]
        return np.asarray(sum(terms))  # (resamples, seeds)

    generator = np.random.default_rng(SEED)
    of_seeds = of(np.ones((1, examples)))[0]  # (seeds,)
    if seeds == 1:
        return Interval(float(of_seeds[0]), None, None)
    error = of_seeds.std(ddof=1) / np.sqrt(seeds)
    drawn = []
    for start in range(0, resamples, _CHUNK):
        found = of(_counts(generator, examples, min(_CHUNK, resamples - start))).mean(1)
        drawn.append(found + error * generator.standard_t(seeds - 1, len(found)))
    low, high = np.quantile(np.concatenate(drawn), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(of_seeds.mean()), float(low), float(high))


def _counts(generator: np.random.Generator, examples: int, resamples: int) -> Numbers:
    """Returns how often each example is drawn, with replacement: (resamples, examples)."""
    picked = generator.integers(examples, size=(resamples, examples))
    picked += examples * np.arange(resamples)[:, None]
    counted = np.bincount(picked.ravel(), minlength=resamples * examples)
    return counted.reshape(resamples, examples).astype(np.float64)


def _counted(metric: str, predicted: Numbers, labels: Numbers) -> Any:
    """Returns the function (resamples, examples) counts -> (resamples, seeds) metric."""
    if metric == "accuracy":
        right = (predicted == labels).astype(np.float64)
        return lambda weights: weights @ right.T / weights.sum(1)[:, None]
    if metric == "pearson":
        return lambda weights: _correlations(predicted, labels, weights)
    if metric == "spearman":
        return lambda weights: _rank_correlations(predicted, labels, weights)
    raise ValueError(f"no such metric: {metric!r}")


def _correlations(predicted: Numbers, labels: Numbers, weights: Numbers) -> Numbers:
    """Returns Pearson's of each resample and seed, 0 where one side is constant.

    Sums are products of matrices; both sides are centred first, so that little cancels.
    """
    x = predicted - predicted.mean(1, keepdims=True)  # (seeds, examples)
    y = labels - labels.mean()
    total = weights.sum(1)[:, None]
    of_x, of_y = weights @ x.T, (weights @ y)[:, None]  # (resamples, seeds), (resamples, 1)
    above = weights @ (x * y).T - of_x * of_y / total
    square_x = weights @ (x * x).T - of_x**2 / total
    square_y = (weights @ (y * y))[:, None] - of_y**2 / total
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y) == 0)  # (seeds,)
    below = np.sqrt(np.maximum(square_x * square_y, 0.0))
    return _divided(above, np.where(constant, 0.0, below))


def _rank_correlations(predicted: Numbers, labels: Numbers, weights: Numbers) -> Numbers:
    """Returns Spearman's of each resample and seed: Pearson's of the ranks within a resample."""
    y = _centred(_ranks(labels, weights), weights)
    found = []
    for one in predicted:
        x = _centred(_ranks(one, weights), weights)
        above = (weights * x * y).sum(1)
        found.append(_divided(above, np.sqrt((weights * x * x).sum(1) * (weights * y * y).sum(1))))
    return np.stack(found, 1)


def _centred(values: Numbers, weights: Numbers) -> Numbers:
    means = (weights * values).sum(1, keepdims=True) / weights.sum(1, keepdims=True)
    return np.asarray(values - means)


def _ranks(values: Numbers, weights: Numbers) -> Numbers:
    """Returns the mid-rank of each example in each resample: (resamples, examples).

    Examples that are equal, or drawn several times, share the mean of their ranks.
    """
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    tied = np.add.reduceat(weights[:, order], starts, axis=1)  # (resamples, groups)
    middle = np.cumsum(tied, axis=1) - (tied - 1) / 2
    return np.asarray(middle[:, group])


def _divided(above: Numbers, below: Numbers) -> Numbers:
    """Returns the quotient, 0 where `below` is."""
    found: Numbers = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return found
