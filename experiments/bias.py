"""Frequency bias (arXiv 2405.03003, Eq. 5) on several tasks: open question 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiments import selection
from experiments.glue import GlueSettings
from experiments.settings import settings
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class BiasSettings:
    """configs/bias.toml.

    Attributes:
        tasks: Names in tasks.TASKS.
        centres: Name -> the favoured distance from frequency zero, in entries.
        width: Of the band, in entries.
        seeds: Of each.
    """

    tasks: Sequence[str]
    centres: Mapping[str, float]
    width: float
    seeds: Sequence[int]


def plan(options: Options, results: Results) -> Plan:
    """Returns, for every task, the trials without a bias, which are GLUE's, and with each band.

    A band changes neither how many coefficients there are nor how large a delta they make, so all
    bands take the rate that was chosen without one.
    """
    found = settings(BiasSettings, "bias", options.size)
    glue = GlueSettings.of(options)
    bands = [None, *((centre, found.width) for centre in found.centres.values())]
    return selection.together(
        [
            glue.like(
                task,
                glue.make(task, replace(glue.fourier(task), band=band)),
                glue.fourier(task),
                1.0,
                found.seeds,
                results,
            )
            for task in found.tasks
            for band in bands
        ]
    )


BIAS = Experiment("bias", "Entries of low, middle and high frequencies, across tasks", plan)
