"""What is reached without an adapter: without any training, and by the head alone."""

from __future__ import annotations

from experiments.evidence.blocks import Level
from experiments.evidence.evidence import Evidence
from experiments.evidence.trainings import of_kind, reported, unit
from experiments.text.tasks import TASKS
from experiments.trial import Json

NAMES = {"majority": "train's commonest class", "cosine": "untuned cosine"}
"""Fields of a result of text.untuned -> what they are called."""


def untuned(evidence: Evidence, task: str) -> Json:
    """Returns what text.untuned found for a task; nothing if it has not run."""
    for record in evidence.of("glue"):
        if record.trial["trial"] == "Untuned" and record.trial["task"] == task:
            return record.result
    return {}


def levels(evidence: Evidence, task: str) -> list[Level]:
    """Returns the dashed lines of what needs no training."""
    found = untuned(evidence, task)
    metric, factor = TASKS[task].metric, unit(task).factor
    return [Level(name, factor * found[key][metric]) for key, name in NAMES.items() if key in found]


def head_level(evidence: Evidence, task: str) -> list[Level]:
    """Returns the dashed line of the head alone, if it has reported."""
    head = of_kind(reported(evidence.of("glue"), task), "head")
    if head is None:
        return []
    return [Level("head alone", unit(task).factor * head.mean(TASKS[task].metric).mean)]
