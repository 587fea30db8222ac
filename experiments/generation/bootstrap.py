"""Differences of scores on the same meanings, with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.fixed import SEED
from experiments.generation.scoring import bleu
from experiments.statistics import Interval
from experiments.trial import Json

RESAMPLES = 2000
_ENDS = (0.025, 0.975)
Score = Callable[[npt.NDArray[np.int64]], float]
"""Numbers of meanings -> their score together."""


def differences(ours: Mapping[int, Json], theirs: Mapping[int, Json]) -> dict[str, Interval]:
    """Returns "bleu" and "rouge_l" of `ours` minus those of `theirs`, means over shared seeds.

    Paired, as statistics.difference is: each resample draws the meanings with replacement, for all
    seeds and both methods alike, and adds a draw of the error of the mean over seeds. One shared
    seed has no interval, and where none is shared there is no difference.

    Args:
        ours: Seed -> what scoring.scores gave.
        theirs: The other method's.
    """
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    if not pairs:
        return {}
    meanings = len(pairs[0][0]["of_each"]["rouge_l"])
    return {
        name: _difference([(score(one), score(other)) for one, other in pairs], meanings)
        for name, score in {"bleu": _bleu, "rouge_l": _rouge_l}.items()
    }


def _difference(pairs: Sequence[tuple[Score, Score]], meanings: int) -> Interval:
    def of_seeds(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.array([one(drawn) - other(drawn) for one, other in pairs])

    generator = np.random.default_rng(SEED)
    found = of_seeds(np.arange(meanings))  # (seeds,)
    if len(pairs) == 1:
        return Interval(float(found[0]), None, None)
    error = found.std(ddof=1) / np.sqrt(len(pairs))
    drawn = [
        of_seeds(generator.integers(meanings, size=meanings)).mean()
        + error * generator.standard_t(len(pairs) - 1)
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, _ENDS)
    return Interval(float(found.mean()), float(low), float(high))


def _bleu(scores: Json) -> Score:
    counts = np.array(scores["of_each"]["bleu_counts"])  # (meanings, 10)
    return lambda drawn: bleu(counts[drawn])


def _rouge_l(scores: Json) -> Score:
    values = np.array(scores["of_each"]["rouge_l"])  # (meanings,)
    return lambda drawn: float(values[drawn].mean())
