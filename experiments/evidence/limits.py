"""What a comparison may lack: seeds that have not run, better rates, more epochs, lost runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from experiments.evidence.formatting import listed
from experiments.evidence.trainings import Group, called, metric, of_task, unit
from experiments.records import Record
from experiments.settings import table

Name = Callable[[Group], str]


def planned_seeds(experiment: str, size: str) -> Sequence[int]:
    """Returns the seeds that report, by configs/NAME.toml."""
    found = table(experiment, size)
    seeds: Sequence[int] = found["fresh_seeds"] if "fresh_seeds" in found else found["seeds"]
    return seeds


def each_seed(group: Group, planned: Sequence[int]) -> str:
    """Returns a cell: seed and metric of each run, and how many of how many, if not all have run.

    "1: 84.3, 2: 84.9 (2 of 3 seeds so far)".
    """
    values = zip(group.seeds, group.values(metric(group.task)), strict=True)
    cells = [f"{seed}: {unit(group.task).value(value)}" for seed, value in values]
    so_far = _so_far(group, planned)
    return ", ".join(cells) + (f" ({so_far})" if so_far else "")


def unfinished(
    records: Sequence[Record],
    tasks: Iterable[str],
    names: Sequence[str],
    planned: Sequence[int],
    name: Name,
) -> list[str]:
    """Returns what of a sweep has not run, as a paragraph; nothing if all has.

    Args:
        records: Of the experiment.
        tasks: Those that are planned.
        names: What is planned on each.
        planned: The seeds of each.
        name: A group -> its name in `names`.
    """
    begun, waiting = [], []
    for task in tasks:
        found = {name(group): group for group in of_task(records, task)}
        for each in names:
            if each not in found:
                waiting.append(f"{called(task)} {each}")
            elif so_far := _so_far(found[each], planned):
                begun.append(f"{called(task)} {each} ({so_far})")
    if not begun and not waiting:
        return []
    parts = {"begun": begun, "nothing yet": waiting}
    said = [f"{word}: {listed(each)}" for word, each in parts.items() if each]
    return [f"**Half run; means are of what there is so far.** In the plan, {'; '.join(said)}."]


def limits(task: str, found: Sequence[Group], name: Name = lambda group: group.name) -> str:
    """Returns, as a list, where better numbers may lie than those that are shown.

    Args:
        task: Of the groups.
        found: The task's groups, those too that have only tried rates.
        name: A group -> what it is called.
    """
    lines = [*_edges(found, name), _epochs(found, name), *_diverged(found, name)]
    return "\n".join(
        [f"{called(task)}, what may be missing:", "", *(f"- {each}" for each in lines)]
    )


def _so_far(group: Group, planned: Sequence[int]) -> str:
    """Returns how many seeds have run; "" if all have."""
    done = {run.trial["seed"] for run in group.runs}
    if done >= set(planned):
        return ""
    if not done:
        tried = len(group.tried)
        return f"{tried} rate{'' if tried == 1 else 's'} tried, no seed so far"
    return f"{len(done & set(planned))} of {len(planned)} seeds so far"


def _edges(found: Sequence[Group], name: Name) -> list[str]:
    """Says where a better rate may lie beyond those that were tried."""
    tuned = [group for group in found if group.tried and group.runs]
    if not tuned:
        return []
    ends = {"lowest": 0, "highest": -1}
    at = [
        f"{name(group)} (the {word})"
        for group in tuned
        for word, place in ends.items()
        if group.runs[0].trial["rate"] == group.tried[place].trial["rate"]
    ]
    if not at:
        return ["No rate that is chosen is the lowest or the highest of those tried."]
    return [
        f"The rate chosen is at an end of those tried, a better one may lie beyond: {listed(at)}."
    ]


def _epochs(found: Sequence[Group], name: Name) -> str:
    """Says whether training had come to rest."""
    at = []
    for group in found:
        last = sum(run.result["epoch"] == run.trial["epochs"] for run in group.runs)
        if last:
            at.append(f"{last} of {len(group.runs)} seeds of {name(group)}")
    if not at:
        return "No seed was best at its last epoch."
    return f"Best at their last epoch, so that more epochs may help: {listed(at)}."


def _diverged(found: Sequence[Group], name: Name) -> list[str]:
    at = [
        f"{name(group)} at rate {run.trial['rate']:g}, seed {run.trial['seed']} "
        f"(epoch {run.result['diverged']})"
        for group in found
        for run in (*group.tried, *group.runs)
        if "diverged" in run.result
    ]
    return [f"Diverged, and stopped there: {listed(at)}."] if at else []
