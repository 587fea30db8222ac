"""The rates that were tried for each method, and what they scored on the choosing split."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Block, Table
from experiments.evidence.formatting import NONE, significant
from experiments.evidence.limits import Name, by_name
from experiments.evidence.trainings import Group, unit
from experiments.records import Record


def tried(found: Sequence[Group], name: Name = by_name) -> list[Block]:
    """Returns the table, with a line above it; nothing where no rate was tried."""
    if not found:
        return []
    most = max(len(group.tried) for group in found)
    rows = []
    for group in found:
        cells = [f"{run.trial['rate']:g}: {_score(group.task, run)}" for run in group.tried]
        rows.append([name(group), *cells, *[NONE] * (most - len(cells)), chosen(group)])
    return [
        "The rates that were tried, each with its score on the choosing split:",
        Table(("method", *("rate: score",) * most, "chosen"), rows),
    ]


def chosen(group: Group) -> str:
    """Returns the rate at which a group has reported."""
    return significant(group.runs[0].trial["rate"])


def _score(task: str, run: Record) -> str:
    diverged = run.result.get("diverged")
    if diverged == 1:
        return "diverged"
    score = unit(task).value(run.result["choose"])
    return score if diverged is None else f"{score}, diverged"
