"""Several methods against the first of them, task by task: what bias and bases have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from experiments.evidence import codes, marks, rates, served
from experiments.evidence.baselines import head_level
from experiments.evidence.blocks import Aim, Block, Figure, Level, Panel, Points, Table
from experiments.evidence.differences import AS_UNDER_GLUE, Difference, paired
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import among_many
from experiments.evidence.formatting import NONE, significant
from experiments.evidence.limits import (
    NONE_REPORTED,
    Name,
    each_seed,
    limits,
    planned_seeds,
    unfinished,
)
from experiments.evidence.trainings import (
    CREDITS,
    Group,
    axis,
    called,
    groups,
    of_task,
    reported,
    tasks,
    unit,
    with_tried,
)
from experiments.settings import table
from experiments.text.tasks import TASKS


def compared(
    evidence: Evidence,
    experiment: str,
    name: Name,
    order: Callable[[Group], object],
    names: Sequence[str],
    more: int,
) -> list[Block]:
    """Returns table, picture and sentences of an experiment.

    Args:
        evidence: Of one size.
        experiment: Whose records are compared.
        name: A group -> what it is called.
        order: A group -> what it is sorted by.
        names: All that is planned on each task; the first is what the others are held to.
        more: How many of them are served beside the first.
    """
    records, seeds = evidence.of(experiment), planned_seeds(experiment, evidence.size)
    planned = table(experiment, evidence.size)["tasks"]
    missing = unfinished(records, planned, names, seeds, name)
    found = {
        task: sorted(reported(records, task), key=order)  # type: ignore[arg-type]  # anything with an order
        for task in tasks(records)
    }
    if not found:
        return [NONE_REPORTED, *missing, *aims(evidence, experiment, more)]
    by_name = [(name(group), group.trials) for group in groups(records)]
    blocks: list[Block] = [
        AS_UNDER_GLUE,
        *codes.compared(by_name),
        *missing,
        _figure(evidence, experiment, found, name),
    ]
    differences: list[Difference] = []
    for task, each in found.items():
        known = _against(evidence, each, names[0], name)
        blocks += [_table(task, each, name, known, seeds, names[0]), *_credit(task)]
        blocks += rates.tried([group for group in each if group.tried], name)
        every = with_tried(of_task(records, task), evidence.of("glue"))
        blocks += [_said(task, names[0], known), *limits(task, every, name)]
        differences += known.values()
    blocks += among_many([each.interval for each in differences], f"each minus {names[0]}")
    every = [group for each in found.values() for group in each]
    return [*blocks, *served.blocks(evidence.size, every, name), *aims(evidence, experiment, more)]


def aims(evidence: Evidence, experiment: str, more: int) -> list[Aim]:
    """Returns the aims of what is served: each seed of the first, and `more` with one seed."""
    planned = table(experiment, evidence.size)
    count = len(planned["seeds"]) + more
    return served.aims(evidence.of(experiment), planned["tasks"], count)


def _against(
    evidence: Evidence, found: Sequence[Group], first: str, name: Name
) -> dict[str, Difference]:
    """Returns each minus the first, by name; none where that one has not reported."""
    held_to = next((group for group in found if name(group) == first), None)
    if held_to is None:
        return {}
    known = {name(group): paired(evidence, group, held_to) for group in found}
    return {each: of for each, of in known.items() if of is not None and each != first}


def _table(
    task: str,
    found: Sequence[Group],
    name: Name,
    known: Mapping[str, Difference],
    seeds: Sequence[int],
    first: str,
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
        called(task), "rate", "delta norm", axis(task), "each seed", f"minus {first}"
    )  # fmt: skip
    return Table(header, rows)


def _credit(task: str) -> list[str]:
    return [CREDITS[task]] if task in CREDITS else []


def _said(task: str, first: str, known: Mapping[str, Difference]) -> str:
    said = [each.said(name, first) for name, each in known.items()]
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
    points = marks.means("", list(range(len(found))), found)
    categories = [name(group).replace(" ", "\n", 1) for group in found]
    every: list[Points | Level] = [points, *head_level(evidence, task)]
    return Panel(called(task), "", axis(task), every, categories=categories)
