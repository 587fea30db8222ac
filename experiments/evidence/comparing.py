"""Several methods against the first of them, task by task: what bias and bases have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.evidence.blocks import Block, Figure, Level, Panel, Points, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero, among_many
from experiments.evidence.formatting import NONE, significant
from experiments.evidence.trainings import (
    Group,
    axis,
    called,
    of_kind,
    paired,
    reported,
    tasks,
    unit,
)
from experiments.statistics import Interval
from experiments.text.tasks import TASKS

Name = Callable[[Group], str]


def compared(
    evidence: Evidence, experiment: str, name: Name, order: Callable[[Group], object]
) -> list[Block]:
    """Returns table, picture and sentences of an experiment.

    Args:
        evidence: Of one size.
        experiment: Whose records are compared.
        name: A group -> what it is called.
        order: A group -> what it is sorted by; the first is what the others are held to.
    """
    records = evidence.of(experiment)
    names = tasks(records)
    if not names:
        return ["Rates have been tried, and no fresh seed has reported yet."]
    found = {
        task: sorted(reported(records, task), key=order)  # type: ignore[arg-type]  # anything with an order
        for task in names
    }
    blocks: list[Block] = [_figure(evidence, experiment, found, name)]
    differences: list[Interval] = []
    for task, each in found.items():
        known = {name(group): paired(evidence, group, each[0]) for group in each[1:]}
        blocks += [_table(task, each, name, known), _said(task, name(each[0]), known)]
        differences += [interval for interval in known.values() if interval is not None]
    return [*blocks, among_many(differences)] if len(differences) > 1 else blocks


def _table(
    task: str, found: Sequence[Group], name: Name, known: dict[str, Interval | None]
) -> Table:
    rows = []
    for group in found:
        interval = known.get(name(group))
        values = " ".join(unit(task).value(v) for v in group.values(TASKS[task].metric))
        rows.append(
            [
                name(group), significant(group.runs[0].trial["rate"]),
                unit(task).interval(group.mean(TASKS[task].metric)), values,
                NONE if interval is None else unit(task).difference(interval),
            ]
        )  # fmt: skip
    seeds = " ".join(str(seed) for seed in found[0].seeds)
    header = (called(task), "rate", axis(task), f"seeds {seeds}", f"minus {name(found[0])}")
    return Table(header, rows)


def _said(task: str, first: str, known: dict[str, Interval | None]) -> str:
    said = [
        against_zero(name, first, interval, unit(task))
        for name, interval in known.items()
        if interval is not None
    ]
    if not said:
        return f"{called(task)}: nothing to compare with has run, or the labels are not known."
    return "\n".join([f"{called(task)}:", "", *said])


def _figure(
    evidence: Evidence, experiment: str, found: dict[str, list[Group]], name: Name
) -> Figure:
    panels = [_panel(evidence, task, each, name) for task, each in found.items()]
    names = ", ".join(map(called, found))
    alt = f"The metric of each on {names}: means with intervals, and each seed."
    return Figure(f"{experiment}-{evidence.size}", alt, panels)


def _panel(evidence: Evidence, task: str, found: Sequence[Group], name: Name) -> Panel:
    factor, metric = unit(task).factor, TASKS[task].metric
    means = [group.mean(metric) for group in found]
    lows = [mean.mean if mean.low is None else mean.low for mean in means]
    highs = [mean.mean if mean.high is None else mean.high for mean in means]
    points = Points(
        "",
        list(range(len(found))),
        [factor * mean.mean for mean in means],
        [factor * low for low in lows],
        [factor * high for high in highs],
        [[factor * value for value in group.values(metric)] for group in found],
    )
    head = of_kind(reported(evidence.of("glue"), task), "head")
    levels = [] if head is None else [Level("head alone", factor * head.mean(metric).mean)]
    categories = [name(group).replace(" ", "\n", 1) for group in found]
    return Panel(called(task), "", axis(task), [points, *levels], categories=categories)
