"""Several methods against the first of them, task by task: what bias and bases have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from experiments.evidence import served
from experiments.evidence.baselines import head_level
from experiments.evidence.blocks import Block, Figure, Level, Panel, Points, Table
from experiments.evidence.differences import Difference, paired
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import among_many
from experiments.evidence.formatting import NONE, significant
from experiments.evidence.limits import Name, each_seed, limits, planned_seeds, unfinished
from experiments.evidence.trainings import (
    CREDITS,
    Group,
    axis,
    called,
    of_task,
    reported,
    tasks,
    unit,
)
from experiments.settings import table
from experiments.text.tasks import TASKS

_INTERVALS = """\
Intervals are as under GLUE, and given the rate: its choice, by one seed on the choosing split, is
in none of them."""


def compared(
    evidence: Evidence,
    experiment: str,
    name: Name,
    order: Callable[[Group], object],
    names: Sequence[str],
) -> list[Block]:
    """Returns table, picture and sentences of an experiment.

    Args:
        evidence: Of one size.
        experiment: Whose records are compared.
        name: A group -> what it is called.
        order: A group -> what it is sorted by; the first is what the others are held to.
        names: All that is planned on each task.
    """
    records, seeds = evidence.of(experiment), planned_seeds(experiment, evidence.size)
    planned = table(experiment, evidence.size)["tasks"]
    missing = unfinished(records, planned, names, seeds, name)
    found = {
        task: sorted(reported(records, task), key=order)  # type: ignore[arg-type]  # anything with an order
        for task in tasks(records)
    }
    if not found:
        return ["Rates have been tried, and no fresh seed has reported yet.", *missing]
    blocks: list[Block] = [_INTERVALS, *missing, _figure(evidence, experiment, found, name)]
    differences: list[Difference] = []
    for task, each in found.items():
        known = {name(group): paired(evidence, group, each[0]) for group in each[1:]}
        blocks += [_table(task, each, name, known, seeds), *_credit(task)]
        blocks += [_said(task, name(each[0]), known), limits(task, of_task(records, task), name)]
        differences += [each for each in known.values() if each is not None]
    if len(differences) > 1:
        blocks.append(among_many([each.interval for each in differences]))
    every = [group for each in found.values() for group in each]
    return [*blocks, *served.blocks(evidence.size, every, name)]


def _table(
    task: str,
    found: Sequence[Group],
    name: Name,
    known: Mapping[str, Difference | None],
    seeds: Sequence[int],
) -> Table:
    rows = []
    for group in found:
        difference = known.get(name(group))
        rows.append(
            [
                name(group), significant(group.runs[0].trial["rate"]),
                NONE if group.delta_norm is None else significant(group.delta_norm),
                unit(task).interval(group.mean(TASKS[task].metric)), each_seed(group, seeds),
                NONE if difference is None else difference.written,
            ]
        )  # fmt: skip
    header = (
        called(task), "rate", "delta norm", axis(task), "each seed", f"minus {name(found[0])}"
    )  # fmt: skip
    return Table(header, rows)


def _credit(task: str) -> list[str]:
    return [CREDITS[task]] if task in CREDITS else []


def _said(task: str, first: str, known: Mapping[str, Difference | None]) -> str:
    said = [each.said(name, first) for name, each in known.items() if each is not None]
    if not said:
        return f"{called(task)}: nothing to compare with has run, or the gold scores are not known."
    return "\n".join([f"{called(task)}:", "", *said])


def _figure(
    evidence: Evidence, experiment: str, found: Mapping[str, list[Group]], name: Name
) -> Figure:
    panels = [_panel(evidence, task, each, name) for task, each in found.items()]
    names = ", ".join(map(called, found))
    alt = f"The metric of each on {names}: means with intervals, and each seed."
    return Figure(f"{experiment}-{evidence.size}", alt, panels)


def _panel(evidence: Evidence, task: str, found: Sequence[Group], name: Name) -> Panel:
    factor, metric = unit(task).factor, TASKS[task].metric
    means = [group.mean(metric) for group in found]
    points = Points(
        "",
        list(range(len(found))),
        [factor * mean.mean for mean in means],
        [factor * mean.ends[0] for mean in means],
        [factor * mean.ends[1] for mean in means],
        [[factor * value for value in group.values(metric)] for group in found],
    )
    categories = [name(group).replace(" ", "\n", 1) for group in found]
    marks: list[Points | Level] = [points, *head_level(evidence, task)]
    return Panel(called(task), "", axis(task), marks, categories=categories)
