"""FourierFT and LoRA with more layers or epochs than under GLUE: what bounds FourierFT there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments import selection
from experiments.glue import GlueSettings
from experiments.settings import settings
from experiments.trial import Experiment, Json, Options, Plan, Results


@dataclass(frozen=True, slots=True)
class FurtherSettings:
    """configs/further.toml.

    Attributes:
        seeds: Of each.
        variants: Name -> its tasks, its trained layers, and "times" GLUE's epochs it trains.
    """

    seeds: Sequence[int]
    variants: Mapping[str, Json]


def epochs(fields: Json, tasks: Mapping[str, int]) -> dict[str, int]:
    """Returns a variant's task -> epochs, of GLUE's task -> epochs."""
    return {task: fields.get("times", 1) * tasks[task] for task in fields["tasks"]}


def plan(options: Options, results: Results) -> Plan:
    """Returns the trials of FourierFT and LoRA in every variant, at the rates that GLUE chose."""
    found = settings(FurtherSettings, "further", options.size)
    glue = GlueSettings.of(options)
    return selection.together(
        [
            each
            for fields in found.variants.values()
            for each in _variant(glue, _changed(glue, fields), found.seeds, results)
        ]
    )


def _changed(glue: GlueSettings, fields: Json) -> GlueSettings:
    tasks = epochs(fields, glue.tasks)
    return replace(glue, tasks=tasks, trained_layers=fields["trained_layers"])


def _variant(
    glue: GlueSettings, changed: GlueSettings, seeds: Sequence[int], results: Results
) -> Iterator[Plan]:
    for task in changed.tasks:
        for method in (glue.fourier(task), glue.lora()):
            yield glue.like(task, changed.make(task, method), method, 1.0, seeds, results)


FURTHER = Experiment("further", "FourierFT and LoRA with more layers or epochs than GLUE's", plan)
