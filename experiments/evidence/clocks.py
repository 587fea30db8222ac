"""What a training took: time, on a processor its own, as trials share it; and memory."""

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
        comparable: Whether they may be compared.
    """

    field: str
    header: str
    said: str
    comparable: bool = True


_PROCESSOR = Clock(
    "cpu_seconds",
    "processor time",
    "Time is the processor's, of all threads, as trials shared the machine with other work; memory "
    "is the most that the trial's own process held in an epoch, libraries and data included; of "
    "all epochs the least, as freed memory is not always given back.",
)
_WALL = Clock(
    "seconds",
    "wall time",
    "Time is wall time, as the work of a GPU is in no processor's; memory is the most that torch "
    "held on the GPU in an epoch, of all epochs the least.",
)
_BOTH = Clock(
    "seconds",
    "wall time",
    "**Some ran on a processor and some on a GPU: their times, wall time, and their memory, of the "
    "process or of the GPU, must not be compared.**",
    comparable=False,
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


def peak_bytes(runs: Sequence[Record]) -> float:
    """Returns the most memory that an epoch needs, a mean over `runs`.

    All epochs of a run read batches alike: what the least of them held was enough.
    """
    return float(sum(map(_least, runs)) / len(runs))


def _least(run: Record) -> int:
    history = run.result["history"]
    whole = [epoch for epoch in history if epoch["loss"] is not None]  # one that diverged stopped
    return min(int(epoch["peak_bytes"]) for epoch in whole or history)
