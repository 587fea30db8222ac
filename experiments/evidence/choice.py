"""What a reader comes for: FourierFT or LoRA, in a table, by a rule."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence import choice_costs
from experiments.evidence.blocks import Block, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, listed
from experiments.evidence.headline import KINDS, RULE, Headline, Verdict, headlines
from experiments.evidence.sections import generation, images
from experiments.evidence.trainings import called, metric, unit

TITLE = "FourierFT or LoRA?"
_ELSEWHERE = (generation.SECTION, images.SECTION)
"""Those that answer it for other models than encoders of text."""
_TABLE = f"""\
Means over seeds on the split that reports.
{RULE}"""


def blocks(evidence: Sequence[Evidence]) -> list[Block]:
    """Returns the section: of each size at which anything has run."""
    found: list[Block] = [f"## {TITLE}"]
    ran = [each for each in evidence if each.files]
    if not ran:
        return [*found, "Nothing has been run."]
    for each in ran:
        tasks = headlines(each)
        costs = choice_costs.costs(each, tasks)
        found += [f"### FourierFT or LoRA: {each.size}", _TABLE, _answers(tasks)]
        found += [*choice_costs.table(costs), *choice_costs.code(tasks)]
        sentences = [*_quality(tasks), *choice_costs.said(costs)]
        found += [" ".join(sentences)] if sentences else []
        found += _others(each)
    return found


def _answers(found: Sequence[Headline]) -> Table:
    names = found[0].names
    rows = []
    for task in found:
        told = unit(task.task)
        means = [
            told.value(task.groups[kind].mean(metric(task.task)).mean)
            if kind in task.groups and task.groups[kind].runs
            else NONE
            for kind in KINDS
        ]
        difference = NONE if task.ours is None else task.ours.written
        scale = f" ({told.scale})" if told.scale else ""
        name = f"{called(task.task)}, {told.metric}{scale}"
        cosine = NONE if task.cosine is None else told.value(task.cosine)
        rows.append([name, cosine, *means, difference, _seeds(task), task.answer()])
    header = (
        "task", "untuned cosine", *(names[kind] for kind in KINDS), "FourierFT minus LoRA, 95 %",
        "seeds", "answer",
    )  # fmt: skip
    return Table(header, rows)


def _seeds(task: Headline) -> str:
    """Returns of how many seeds the means are: "5 of 5", or each method's."""
    reported = [len(task.groups[k].runs) if k in task.groups else 0 for k in KINDS]
    each = str(reported[0]) if len(set(reported)) == 1 else ", ".join(map(str, reported))
    return f"{each} of {len(task.seeds)}"


def _quality(found: Sequence[Headline]) -> list[str]:
    """On which tasks it is as good, once each has an answer."""
    if any(task.verdict is None for task in found):
        return []
    said = []
    for verdict in Verdict:
        tasks = [_named(task) for task in found if task.verdict is verdict]
        said += [f"{verdict.value} on {listed(tasks)}"] if tasks else []
    return [f"FourierFT is {'; '.join(said)}."]


def _named(task: Headline) -> str:
    if task.verdict is not Verdict.AS_GOOD or not task.beside:
        return called(task.task)
    return f"{called(task.task)} (and {task.beside})"


def _others(evidence: Evidence) -> list[str]:
    """Where else the two are compared, in sections of their own."""
    titles = [
        section.title
        for section in _ELSEWHERE
        if any("report" in record.result for record in evidence.of(section.name))
    ]
    if not titles:
        return []
    verb = "compares" if len(titles) == 1 else "compare"
    return [f"{listed(titles)} {verb} the two as well, in a section of their own."]
