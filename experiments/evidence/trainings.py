"""Trainings of encoders (text.trial.TextTrial), grouped for tables: what GLUE's sections share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import UNITS, Unit
from experiments.records import Record
from experiments.statistics import Interval, Numbers, difference, mean_interval
from experiments.text.tasks import TASKS
from experiments.trial import Json

_NAMES = {
    "mrpc": "MRPC", "stsb": "STS-B", "sst2": "SST-2", "cola": "CoLA", "rte": "RTE", "qnli": "QNLI",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """One method on one task.

    Attributes:
        task: A name in tasks.TASKS.
        method: The method's fields.
        tried: The trials that chose a rate, by rate; they do not report.
        runs: Those that report, by seed, all at one rate.
    """

    task: str
    method: Json
    tried: tuple[Record, ...]
    runs: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The method's name: "FourierFT n = 600", "LoRA r = 8"."""
        return method_name(self.method)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the runs."""
        return tuple(run.trial["seed"] for run in self.runs)

    @property
    def parameters(self) -> int:
        """How many numbers are trained beside the head."""
        return int(self.runs[0].result["parameters"])

    def values(self, metric: str) -> list[float]:
        """Returns the reporting split's metric of each seed."""
        return [run.result["report"][metric] for run in self.runs]

    def mean(self, metric: str) -> Interval:
        """Returns the mean over seeds, with Student's interval."""
        return mean_interval(self.values(metric))

    def average(self, name: str) -> float:
        """Returns the mean over seeds of a number of the result."""
        return float(np.mean([run.result[name] for run in self.runs]))

    def seconds(self, name: str = "seconds") -> float:
        """Returns the mean over seeds of the time of all epochs; or of "cpu_seconds"."""
        return float(np.mean([sum(e[name] for e in run.result["history"]) for run in self.runs]))

    def predictions(self, seeds: Sequence[int]) -> Numbers:
        """Returns what was answered: (seeds, examples)."""
        found = dict(zip(self.seeds, self.runs, strict=True))
        return np.stack([_numbers(found[seed].result["predictions"]) for seed in seeds])


def groups(records: Iterable[Record]) -> list[Group]:
    """Returns the trainings among `records`, a method and task each."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.trial["trial"] == "TextTrial":
            method = json.dumps(record.trial["method"], sort_keys=True)
            found.setdefault((record.trial["task"], method), []).append(record)
    return [_group(records) for records in found.values()]


def reported(records: Iterable[Record], task: str) -> list[Group]:
    """Returns the groups of a task that have reported."""
    return [group for group in groups(records) if group.task == task and group.runs]


def tasks(records: Iterable[Record]) -> list[str]:
    """Returns the tasks that have been reported on, in the order of tasks.TASKS."""
    found = {group.task for group in groups(records) if group.runs}
    return [name for name in TASKS if name in found]


def of_kind(found: Sequence[Group], kind: str) -> Group | None:
    """Returns the first group of a kind of method: "fourier", "lora", "full", "head"."""
    return next((group for group in found if group.method["kind"] == kind), None)


def untuned(evidence: Evidence, task: str) -> Json | None:
    """Returns what text.untuned found for a task; None if it has not run."""
    for record in evidence.of("glue"):
        if record.trial["trial"] == "Untuned" and record.trial["task"] == task:
            return record.result
    return None


def paired(evidence: Evidence, ours: Group, theirs: Group, metric: str = "") -> Interval | None:
    """Returns the metric of `ours` minus that of `theirs` over the seeds that both have.

    None where they share no seed, or the labels are not known.
    """
    baselines = untuned(evidence, ours.task)
    shared = [seed for seed in ours.seeds if seed in theirs.seeds]
    if baselines is None or not shared:
        return None
    return difference(
        metric or TASKS[ours.task].metric,
        ours.predictions(shared),
        theirs.predictions(shared),
        _numbers(baselines["labels"]),
    )


def seeds_alone(ours: Group, theirs: Group) -> Interval | None:
    """Returns the difference of the first metric with Student's interval over shared seeds."""
    metric = TASKS[ours.task].metric
    of_theirs = dict(zip(theirs.seeds, theirs.values(metric), strict=True))
    pairs = zip(ours.seeds, ours.values(metric), strict=True)
    found = [value - of_theirs[seed] for seed, value in pairs if seed in of_theirs]
    return mean_interval(found) if found else None


def called(task: str) -> str:
    """Returns a task's own name: "STS-B"."""
    return _NAMES.get(task, task)


def unit(task: str) -> Unit:
    """Returns how a task's metric is written."""
    return UNITS[TASKS[task].metric]


def axis(task: str) -> str:
    """Returns what a task's metric is called on the reporting split: "accuracy on test (%)"."""
    return unit(task).on(TASKS[task].reported)


def method_name(method: Json) -> str:
    """Returns the name of a method by its fields."""
    kind = method["kind"]
    if kind == "fourier":
        return f"FourierFT n = {method['n']}"
    if kind == "control":
        return f"{method['basis']} basis n = {method['n']}"
    if kind == "lora":
        return f"LoRA r = {method['rank']}"
    return {"full": "full fine-tuning", "head": "head alone"}[kind]


def _group(records: list[Record]) -> Group:
    first = records[0].trial
    return Group(
        first["task"],
        first["method"],
        tuple(sorted((r for r in records if not r.trial["report"]), key=lambda r: r.trial["rate"])),
        tuple(sorted((r for r in records if r.trial["report"]), key=lambda r: r.trial["seed"])),
    )


def _numbers(found: str | list[float]) -> Numbers:
    """Returns predictions or labels as numbers: a string has a digit for each."""
    return np.array([float(value) for value in found])
