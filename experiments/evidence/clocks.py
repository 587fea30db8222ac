"""What a training took: on a processor its own time, as trials share it; on a GPU wall time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.records import Record


@dataclass(frozen=True, slots=True)
class Clock:
    """How times and memory of some records are told.

    Attributes:
        field: Of an epoch, its seconds.
        header: Of a column.
        said: What the numbers are, in sentences.
    """

    field: str
    header: str
    said: str


_PROCESSOR = Clock(
    "cpu_seconds",
    "processor time",
    "Time is the processor's, of all threads, as trials shared the machine with other work; memory "
    "is the most that the trial's own process held in an epoch, libraries and data included.",
)
_WALL = Clock(
    "seconds",
    "wall time",
    "Time is wall time, as the work of a GPU is in no processor's; memory is the most that torch "
    "held on the GPU in an epoch.",
)
_BOTH = Clock(
    "seconds",
    "wall time",
    "**Some ran on a processor and some on a GPU: their times, wall time, and their memory, of the "
    "process or of the GPU, must not be compared.**",
)


def clock(records: Iterable[Record]) -> Clock:
    """Returns the clock by which all of `records` are told."""
    found = {record.environment["device"] == "cpu" for record in records}
    if len(found) > 1:
        return _BOTH
    return _WALL if found == {False} else _PROCESSOR


def step_seconds(runs: Sequence[Record], told: Clock) -> float:
    """Returns the time of a step, a mean over all steps of `runs`."""
    epochs = [epoch for run in runs for epoch in run.result["history"]]
    steps = sum(each["steps"] for each in epochs)
    return float(sum(each[told.field] for each in epochs) / max(1, steps))
