"""Results that no model gave: what the plans ask for, answered by a rule, for tests alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from experiments.evidence.blocks import Block
from experiments.evidence.evidence import Evidence
from experiments.evidence.page import markdown
from experiments.evidence.sections import sections
from experiments.records import Book, Record
from experiments.statistics import Numbers
from experiments.text.scoring import others, score
from experiments.text.tasks import TASKS
from experiments.text.trial import TextTrial
from experiments.text.untuned import Untuned
from experiments.trial import Experiment, Json, Options, Trial, described, key

Change = Callable[[Record], Record | None]
"""A record -> another in its place, or none."""
ROWS = 300
ENVIRONMENT = {
    "day": "2026-11-26",
    "python": "3.11.7",
    "machine": "x86_64",
    "cores": 2,
    "threads": 1,
    "device": "cpu",
    "versions": {"torch": "2.13.0"},
    "code": "0123abcd",
}
SKILL = {"fourier": 1.0, "lora": 1.1, "full": 1.2, "head": 0.5, "control": 0.8}


@cache
def truth(task: str) -> Numbers:
    """Returns a hidden score of each example: (ROWS,)."""
    return np.random.default_rng(len(task)).normal(size=ROWS)


def labels(task: str) -> Numbers:
    """Returns the labels of the reporting split."""
    found = truth(task)
    return (found > 0).astype(float) if TASKS[task].classes else (found / 8 + 0.5).round(3)


def fill(folder: Path, experiment: Experiment, size: str, skill: dict[str, float]) -> None:
    """Write the results of all that `experiment` plans into `folder`."""
    book = Book(size, folder)
    for _ in range(2):
        for trial in experiment.plan(Options(size), book).trials:
            if book.get(trial) is None:
                book.add(finished(trial, skill))
    book.write(experiment, Options(size))


def changed(evidence: Evidence, experiment: str, change: Change) -> Evidence:
    """Returns `evidence` with other records of one experiment; None takes a record out."""
    found = [change(record) for record in evidence.of(experiment)]
    kept = tuple(record for record in found if record is not None)
    return replace(evidence, files={**evidence.files, experiment: kept})


def resulting(record: Record, **fields: object) -> Record:
    """Returns a record with other fields of its result."""
    return replace(record, result={**record.result, **fields})


def finished(trial: Trial, skill: dict[str, float]) -> Record:
    """Returns the record of a trial."""
    fields = key(trial), trial.label, trial.work, trial.steps, described(trial)
    return Record(*fields, result(trial, skill), 12.3, ENVIRONMENT)


def result(trial: Trial, skill: dict[str, float]) -> Json:
    """Returns what a trial would give: noise on the truth, less of it with skill."""
    assert isinstance(trial, TextTrial | Untuned)
    task = TASKS[trial.task]
    if isinstance(trial, Untuned):
        found: Json = {"rows": ROWS}
        if not task.classes:
            found["labels"] = [float(label) for label in labels(task.name)]
        noisy = truth(task.name) + 1.5 * np.random.default_rng(0).normal(size=ROWS)
        if task.name in {"mrpc", "stsb"}:
            found["cosine"] = _scores(task.name, _classes(noisy) if task.classes else noisy)
        if task.classes:
            found["majority"] = _scores(task.name, np.ones(ROWS))
        return found
    n = getattr(trial.method, "n", 768 * getattr(trial.method, "rank", 0))
    noise = np.random.default_rng((trial.seed + 10, n)).normal(size=ROWS)
    answers = truth(task.name) * skill[trial.method.kind] * (1 + n / 1e4) + noise
    predicted = _classes(answers) if task.classes else np.asarray(np.tanh(answers))
    choose = 0.7 - abs(trial.rate - 0.06)
    history = [
        {
            "epoch": e,
            "loss": 0.7 / e,
            "seconds": 2.0,
            "cpu_seconds": 1.5,
            "choose": choose - 0.1 / e,
            "peak_bytes": 6e8 + e * 1e7,  # a heap that grows
        }
        for e in range(1, trial.epochs + 1)
    ]
    found = {
        "history": history,
        "epoch": trial.epochs - 1,
        "choose": choose,
        "parameters": 6 * n,
        "head": 770,
    }
    if trial.report:
        found |= {
            "report": _scores(task.name, predicted),
            "delta_norm": None if trial.method.kind in {"full", "head"} else 2 + n / 1e4,
            **_answers(task.name, predicted),
            "file_bytes": 4 * n + 3000,
        }
    if trial.serve:
        metric = score(task.metric, predicted, labels(task.name))
        found["onnxruntime"] = {
            "largest_difference": 1e-6, "largest_logit": 3.1, task.metric: metric, "torch": metric,
        }  # fmt: skip
        if task.classes:
            differing = [{"id": 7, "margin": 3e-5}] if trial.seed == 1 else []
            served = {"rows": ROWS, "differing": differing, "margins_below": 2}
            found["onnxruntime"] |= served
    return found


def _scores(task: str, predicted: Numbers) -> Json:
    names = (TASKS[task].metric, *others(TASKS[task].classes))
    return {name: score(name, predicted, labels(task)) for name in names}


def _classes(answers: Numbers) -> Numbers:
    return (answers > 0).astype(np.float64)


def _answers(task: str, predicted: Numbers) -> Json:
    if TASKS[task].classes:
        return {"right": "".join(str(int(each)) for each in predicted == labels(task))}
    return {"predictions": [round(float(value), 6) for value in predicted]}


def without(kind: str, seeds: set[int], task: str = "mrpc") -> Change:
    """Takes reporting runs out."""

    def change(record: Record) -> Record | None:
        trial = record.trial
        gone = trial["task"] == task and trial.get("report") and trial["method"]["kind"] == kind
        return None if gone and trial["seed"] in seeds else record

    return change


def rendered(name: str, evidence: Evidence) -> list[Block]:
    """Returns what a section says."""
    section = next(section for section in sections() if section.name == name)
    return list(section.render(evidence))


def text(name: str, evidence: Evidence) -> str:
    """Returns it in Markdown."""
    return "\n\n".join(markdown(block) for block in rendered(name, evidence))
