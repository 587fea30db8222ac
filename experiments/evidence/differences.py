"""One training minus another, seed by seed on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evidence.baselines import untuned
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero
from experiments.evidence.formatting import listed
from experiments.evidence.trainings import Group, classes, metric, unit
from experiments.statistics import RESAMPLES, Interval, Numbers, contrast, mean_interval

_MEANS = f"""\
Intervals of means are Student's over seeds. Differences are of the same seeds on the same examples;
theirs are a bootstrap over examples ({RESAMPLES:,} resamples) with the error of the mean over seeds
added, for other examples and other seeds alike."""
_RIGHT_ALONE = """\
Of Matthews, and of a task's second metric, they are Student's over seeds alone: of classes, results
hold which rows are right, not what was said."""
_CLEARLY = """\
One seed gives no interval. "Clearly" above or below means that the interval leaves out 0; where it
does not, no difference is shown, and none up to its ends is ruled out. Every interval is given the
rate: a rate is chosen by one seed on the choosing split, and how else that choice might have fallen
is in no interval."""
AS_UNDER_GLUE = """\
Intervals are as under GLUE, and given the rate: its choice, by one seed on the choosing split, is
in none of them."""
OF_ACCURACY = f"{_MEANS}\n{_CLEARLY}"
INTERVALS = f"{_MEANS}\n{_RIGHT_ALONE}\n{_CLEARLY}"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first metric of `ours` minus that of `theirs`, of the seeds that both have."""

    ours: Group
    theirs: Group
    interval: Interval
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of a row: "FourierFT n = 600 minus LoRA r = 8"."""
        return f"{self.ours.name} minus {self.theirs.name}"

    @property
    def clear(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.interval.low is not None and self.interval.low > 0

    @property
    def written(self) -> str:
        """The numbers, and the seeds where one side has others beside."""
        text = unit(self.ours.task).difference(self.interval)
        if self.seeds == self.ours.seeds == self.theirs.seeds:
            return text
        seeds = listed([str(seed) for seed in self.seeds])
        return f"{text} (of seed{'s' if len(self.seeds) > 1 else ''} {seeds} alone)"

    def said(self, ours: str = "", theirs: str = "") -> str:
        """Returns the sentence, a line of a list; names are the groups' if none are given."""
        names = ours or self.ours.name, theirs or self.theirs.name
        return against_zero(*names, self.interval, unit(self.ours.task))


def paired(evidence: Evidence, ours: Group, theirs: Group) -> Difference | None:
    """Returns `ours` minus `theirs`; None where they share no seed, or gold scores are missing."""
    found = contrasted(evidence, [ours], [theirs])
    return None if found is None else Difference(ours, theirs, *found)


def contrasted(
    evidence: Evidence, plus: Sequence[Group], minus: Sequence[Group]
) -> tuple[Interval, tuple[int, ...]] | None:
    """Returns the first metric's sum over `plus` minus that over `minus`, of seeds that all have.

    Returns:
        The interval and the seeds; None where no seed is shared, or gold scores are missing.
    """
    every = [*plus, *minus]
    task, name = every[0].task, metric(every[0].task)
    shared = tuple(seed for seed in every[0].seeds if all(seed in each.seeds for each in every))
    if not shared:
        return None
    if classes(task) and name != "accuracy":
        return _over_seeds(plus, minus, shared, name), shared
    ours, theirs = ([each.answers(shared) for each in side] for side in (plus, minus))
    if classes(task):
        return contrast(name, ours, theirs, np.ones(ours[0].shape[1])), shared
    found = untuned(evidence, task)
    if "labels" not in found:
        return None
    return contrast(name, ours, theirs, np.array(found["labels"], np.float64)), shared


def seeds_alone(ours: Group, theirs: Group, name: str) -> Interval:
    """Returns the difference of a metric with Student's interval over shared seeds."""
    shared = tuple(seed for seed in ours.seeds if seed in theirs.seeds)
    return _over_seeds([ours], [theirs], shared, name)


def _over_seeds(
    plus: Sequence[Group], minus: Sequence[Group], shared: Sequence[int], name: str
) -> Interval:
    def of(groups: Sequence[Group]) -> Numbers:
        every = [dict(zip(each.seeds, each.values(name), strict=True)) for each in groups]
        return np.array([sum(values[seed] for values in every) for seed in shared])

    return mean_interval(list(of(plus) - of(minus)))
