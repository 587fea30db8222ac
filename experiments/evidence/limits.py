"""What a comparison of groups may lack, and how far its seeds have come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from experiments.evidence import sweeps
from experiments.evidence.sweeps import Sweep
from experiments.evidence.trainings import Group, called, metric, of_task, unit
from experiments.records import Record
from experiments.settings import table

NONE_REPORTED = "Rates have been tried, and no fresh seed has reported yet."
"""Of a section whose trials have begun."""
Name = Callable[[Group], str]


def by_name(group: Group) -> str:
    """Returns a group's own name."""
    return group.name


def planned_seeds(experiment: str, size: str) -> Sequence[int]:
    """Returns the seeds that report, by configs/NAME.toml."""
    found = table(experiment, size)
    seeds: Sequence[int] = found["fresh_seeds"] if "fresh_seeds" in found else found["seeds"]
    return seeds


def sweep(group: Group, name: str = "") -> Sweep:
    """Returns the group's trials; called by its own name if none is given."""
    return Sweep(name or group.name, group.tried, group.runs, group.lost)


def each_seed(group: Group, planned: Sequence[int]) -> str:
    """Returns a cell: seed and metric of each run, and what is missing, if not all have reported.

    "1: 84.3, 2: 84.9 (2 of 3 seeds so far)".
    """
    values = zip(group.seeds, group.values(metric(group.task)), strict=True)
    cells = [f"{seed}: {unit(group.task).value(value)}" for seed, value in values]
    so_far = sweep(group).so_far(planned)
    return ", ".join(cells) + (f" ({so_far})" if so_far else "")


def unfinished(
    records: Sequence[Record],
    tasks: Iterable[str],
    names: Sequence[str],
    planned: Sequence[int],
    name: Name = by_name,
) -> list[str]:
    """Returns what of a comparison has not run or was lost; nothing if all has reported.

    Args:
        records: Of the experiment.
        tasks: Those that are planned.
        names: What is planned on each.
        planned: The seeds of each.
        name: A group -> its name in `names`.
    """
    wanted = {f"{called(task)} {each}": planned for task in tasks for each in names}
    begun = [
        sweep(group, f"{called(task)} {name(group)}")
        for task in tasks
        for group in of_task(records, task)
    ]
    return sweeps.unfinished(wanted, begun)


def limits(task: str, found: Sequence[Group], name: Name = by_name) -> list[str]:
    """Returns, as a list, where better numbers may lie than those that are shown.

    Args:
        task: Of the groups.
        found: The task's groups, those too that have only tried rates.
        name: A group -> what it is called.
    """
    title = f"{called(task)}, what may be missing:"
    return sweeps.lacks([sweep(group, name(group)) for group in found], title)
