"""Training curves, and the metric against n and the rank: the scaling claim, open question 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiments import selection
from experiments.glue import GlueSettings
from experiments.settings import settings
from experiments.text.methods import Lora, Method
from experiments.trial import Experiment, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class CurvesSettings:
    """configs/curves.toml.

    Attributes:
        task: A name in tasks.TASKS.
        ns: Coefficients of a weight.
        ranks: Of LoRA.
        seeds: Of each.
    """

    task: str
    ns: Sequence[int]
    ranks: Sequence[int]
    seeds: Sequence[int]


def plan(options: Options, results: Results) -> Plan:
    """Returns the trials of every n and rank, once GLUE's trials have chosen the two rates.

    Adam moves every coefficient by about the rate, so the delta of n of them by rate sqrt(n). The
    rate of FourierFT is chosen at GLUE's n and goes with 1 / sqrt(n): the delta moves alike.
    LoRA's alpha goes with the rank, and its rate stays.
    """
    found = settings(CurvesSettings, "curves", options.size)
    glue = GlueSettings.of(options)
    fourier, lora = glue.fourier, Lora(glue.rank)
    methods: list[tuple[Method, Method, float]] = [
        *((replace(fourier, n=n), fourier, math.sqrt(glue.n / n)) for n in found.ns),
        *((Lora(rank), lora, 1.0) for rank in found.ranks),
    ]
    return selection.together(
        [
            glue.like(found.task, method, chooser, factor, found.seeds, results)
            for method, chooser, factor in methods
        ]
    )


CURVES = Experiment("curves", "Training curves, and the metric against n and LoRA's rank", plan)
