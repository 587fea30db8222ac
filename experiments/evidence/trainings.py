"""Trainings that choose a rate and report with seeds, grouped for tables: texts and images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.evidence.clocks import Clock
from experiments.evidence.formatting import UNITS, Unit
from experiments.evidence.sweeps import parted
from experiments.records import Record
from experiments.statistics import Interval, Numbers
from experiments.text.tasks import TASKS
from experiments.trial import Json

CREDITS = {
    "stsb": "Gold scores of the STS Benchmark, Cer et al. 2017, CC BY-SA 4.0"
    " (https://creativecommons.org/licenses/by-sa/4.0/), here divided by 5."
}
"""Task -> whose labels stand in the results, and under which licence."""
_TASKS = {"TextTrial": "task", "ImageTrial": "data"}
"""Trials that are grouped -> the field that names their task."""
_NAMES = {
    "mrpc": "MRPC", "stsb": "STS-B", "sst2": "SST-2", "cola": "CoLA", "rte": "RTE", "qnli": "QNLI",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """One method on one task.

    Attributes:
        task: A name in tasks.TASKS, or a set of images.
        method: The method's fields.
        tried: The trials that chose a rate, by rate; they do not report.
        runs: Those that reported, by seed, all at one rate.
        lost: Those that were to report and diverged in their first epoch, by seed.
    """

    task: str
    method: Json
    tried: tuple[Record, ...]
    runs: tuple[Record, ...]
    lost: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The method's name: "FourierFT n = 600", "LoRA r = 8"."""
        return method_name(self.method)

    @property
    def short(self) -> str:
        """The kind of method: "FourierFT", "LoRA", "last 3 layers", "head"."""
        return short_name(self.method)

    @property
    def trials(self) -> tuple[Record, ...]:
        """Those that chose a rate and those that reported."""
        return (*self.tried, *self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the runs."""
        return tuple(run.trial["seed"] for run in self.runs)

    @property
    def parameters(self) -> int:
        """How many numbers are trained beside the head."""
        return int(self.runs[0].result["parameters"])

    @property
    def delta_norm(self) -> float | None:
        """The deltas' Frobenius norm, a mean over targets and seeds; None if all weights change."""
        known = all(run.result["delta_norm"] is not None for run in self.runs)
        return self.average("delta_norm") if known else None

    def values(self, metric: str) -> list[float]:
        """Returns the reporting split's metric of each seed."""
        return [run.result["report"][metric] for run in self.runs]

    def mean(self, metric: str) -> Interval:
        """Returns the mean over seeds, with Student's interval."""
        return UNITS[metric].mean(self.values(metric))

    def average(self, name: str) -> float:
        """Returns the mean over seeds of a number of the result."""
        return float(np.mean([run.result[name] for run in self.runs]))

    def seconds(self, told: Clock) -> float:
        """Returns the mean over seeds of the time of all epochs."""
        return float(np.mean(self.seconds_of_each(told)))

    def seconds_of_each(self, told: Clock) -> list[float]:
        """Returns the time of all epochs of each seed."""
        return [sum(e[told.field] for e in run.result["history"]) for run in self.runs]

    def history(self, name: str) -> Numbers:
        """Returns a number of each epoch, up to the first that diverged: (seeds, epochs)."""
        whole = min(run.result.get("diverged", run.trial["epochs"] + 1) - 1 for run in self.runs)
        return np.array([[e[name] for e in run.result["history"][:whole]] for run in self.runs])

    def answers(self, seeds: Sequence[int]) -> Numbers:
        """Returns the scores that were given, or of classes 1 where right: (seeds, examples)."""
        name = "right" if classes(self.task) else "predictions"
        found = dict(zip(self.seeds, self.runs, strict=True))
        return np.stack(
            [np.array([float(each) for each in found[seed].result[name]]) for seed in seeds]
        )


def groups(records: Iterable[Record]) -> list[Group]:
    """Returns the trainings among `records`, a method and task each."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.trial["trial"] in _TASKS:
            method = json.dumps(record.trial["method"], sort_keys=True)
            found.setdefault((_task(record), method), []).append(record)
    return [_group(task, records) for (task, _), records in found.items()]


def of_task(records: Iterable[Record], task: str) -> list[Group]:
    """Returns the groups of a task, those too that have only tried rates."""
    return [group for group in groups(records) if group.task == task]


def reported(records: Iterable[Record], task: str) -> list[Group]:
    """Returns the groups of a task that have reported."""
    return [group for group in of_task(records, task) if group.runs]


def tasks(records: Iterable[Record]) -> list[str]:
    """Returns the tasks that have been reported on, in the order of tasks.TASKS."""
    found = {group.task for group in groups(records) if group.runs}
    return [name for name in TASKS if name in found]


def with_tried(found: Iterable[Group], records: Iterable[Record]) -> list[Group]:
    """Returns the groups with the rates that were tried of them, here or among `records`."""
    others = {(each.task, str(each.method)): each.tried for each in groups(records)}
    return [
        replace(group, tried=_merged(group.tried, others.get((group.task, str(group.method)), ())))
        for group in found
    ]


def _merged(ours: Sequence[Record], theirs: Sequence[Record]) -> tuple[Record, ...]:
    every = {record.trial["rate"]: record for record in (*theirs, *ours)}
    return tuple(every[rate] for rate in sorted(every))


def of_kind(found: Sequence[Group], kind: str) -> Group | None:
    """Returns the first group of a kind of method: "fourier", "lora", "full", "head"."""
    return next((group for group in found if group.method["kind"] == kind), None)


def called(task: str) -> str:
    """Returns a task's own name: "STS-B"."""
    return _NAMES.get(task, task)


def metric(task: str) -> str:
    """Returns a task's first metric; of images accuracy."""
    return TASKS[task].metric if task in TASKS else "accuracy"


def classes(task: str) -> bool:
    """Returns whether classes are told, not numbers."""
    return task not in TASKS or TASKS[task].classes > 0


def unit(task: str) -> Unit:
    """Returns how a task's metric is written."""
    return UNITS[metric(task)]


def axis(task: str) -> str:
    """Returns what a task's metric is called on the reporting split: "accuracy on test (%)"."""
    return unit(task).on(TASKS[task].reported if task in TASKS else "test")


def method_name(method: Json) -> str:
    """Returns the name of a method by its fields."""
    kind = method["kind"]
    if kind == "fourier":
        return f"FourierFT n = {method['n']}"
    if kind == "control":
        return f"{method['basis']} basis n = {method['n']}"
    if kind == "lora":
        return f"LoRA r = {method['rank']}"
    if kind == "full":
        layers = method.get("layers", 0)
        return f"all weights of the last {layers} layers" if layers else "full fine-tuning"
    return {"head": "head alone"}[kind]


def short_name(method: Json) -> str:
    """Returns what a method of this kind is called where there is one of each."""
    if method["kind"] == "full":
        layers = method.get("layers", 0)
        return f"last {layers} layers" if layers else "full"
    return {"head": "head", "lora": "LoRA", "fourier": "FourierFT"}[method["kind"]]


def _task(record: Record) -> str:
    return str(record.trial[_TASKS[record.trial["trial"]]])


def _group(task: str, records: list[Record]) -> Group:
    found = parted("", records)
    return Group(task, records[0].trial["method"], found.tried, found.runs, found.lost)
