"""One training minus another, seed by seed on the same examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.evidence.baselines import untuned
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero
from experiments.evidence.formatting import listed
from experiments.evidence.trainings import Group, classes, metric, unit
from experiments.statistics import RESAMPLES, Interval, difference, mean_interval

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
    shared = tuple(seed for seed in ours.seeds if seed in theirs.seeds)
    if not shared:
        return None
    name = metric(ours.task)
    if classes(ours.task) and name != "accuracy":
        return Difference(ours, theirs, seeds_alone(ours, theirs, name), shared)
    answers = ours.answers(shared), theirs.answers(shared)  # (seeds, examples) each
    if classes(ours.task):
        interval = difference(name, *answers, np.ones(answers[0].shape[1]))
    elif "labels" in untuned(evidence, ours.task):
        labels = np.array(untuned(evidence, ours.task)["labels"], np.float64)
        interval = difference(name, *answers, labels)
    else:
        return None
    return Difference(ours, theirs, interval, shared)


def seeds_alone(ours: Group, theirs: Group, name: str) -> Interval:
    """Returns the difference of a metric with Student's interval over shared seeds."""
    of_theirs = dict(zip(theirs.seeds, theirs.values(name), strict=True))
    pairs = zip(ours.seeds, ours.values(name), strict=True)
    return mean_interval([value - of_theirs[seed] for seed, value in pairs if seed in of_theirs])
