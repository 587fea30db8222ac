"""Training curves, and the metric against n and the rank: the scaling claim, open question 2."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from experiments import selection
from experiments.glue import GlueSettings
from experiments.settings import settings
from experiments.text.methods import Method
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class CurvesSettings:
    """configs/curves.toml.

    Attributes:
        task: A name in tasks.TASKS.
        ns: Coefficients of a weight.
        ranks: Of LoRA.
        tuned_ns: Those for which rates are tried.
        tuned_ranks: Likewise.
        seeds: Of each.
        rates: Kind of method -> the rates that are tried of these; GLUE's where none are given.
    """

    task: str
    ns: Sequence[int]
    ranks: Sequence[int]
    tuned_ns: Sequence[int]
    tuned_ranks: Sequence[int]
    seeds: Sequence[int]
    rates: Mapping[str, Sequence[float]] = field(default_factory=dict)


def plan(options: Options, results: Results) -> Plan:
    """Returns the trials of every n and rank.

    Those that are compared at equal sizes are tuned, four rates each. The others take the rate that
    GLUE's trials chose. Adam moves every coefficient by about the rate, so a delta of n of them by
    rate sqrt(n): the rate of FourierFT goes with 1 / sqrt(n), so that deltas of all n move alike.
    LoRA's alpha goes with the rank, and its rate stays.
    """
    found = settings(CurvesSettings, "curves", options.size)
    glue = GlueSettings.of(options)
    fourier, lora = glue.fourier(found.task), glue.lora()

    def tuned(method: Method) -> Plan:
        return glue.plan(found.task, method, found.seeds, results, found.rates)

    def scaled(method: Method, chooser: Method, factor: float) -> Plan:
        make = glue.make(found.task, method)
        return glue.like(found.task, make, chooser, factor, found.seeds, results)

    return selection.together(
        [
            *(
                tuned(replace(fourier, n=n))
                if n in found.tuned_ns
                else scaled(replace(fourier, n=n), fourier, math.sqrt(glue.n / n))
                for n in found.ns
            ),
            *(
                tuned(glue.lora(rank))
                if rank in found.tuned_ranks
                else scaled(glue.lora(rank), lora, 1.0)
                for rank in found.ranks
            ),
        ]
    )


CURVES = Experiment("curves", "Training curves, and the metric against n and LoRA's rank", plan)
