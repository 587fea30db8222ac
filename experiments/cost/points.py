"""Committed results as points of the model, and as ratios: what the page's section reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from experiments.cost import work
from experiments.cost.model import Point
from experiments.records import Record
from experiments.trial import Json

AUTO = "auto"
"""The kind of FourierFT on the path that the trainer's own table of costs chooses."""


def of(records: Iterable[Record], trial: str) -> list[Record]:
    """Returns the records of one class of trials, by their fields."""
    found = [record for record in records if record.trial["trial"] == trial]
    return sorted(found, key=lambda record: [v for v in record.trial.values() if type(v) is int])


def seconds(entry: Json, job: str = "seconds") -> float:
    """Returns the median of what was timed; `job` is the field that holds it."""
    return float(median(entry[job]))


@dataclass(frozen=True, slots=True)
class Ratios:
    """One's time over another's in the same round, of all rounds.

    Attributes:
        values: One a round.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return float(median(self.values))

    @property
    def least(self) -> float:
        """Of the rounds."""
        return min(self.values)

    @property
    def most(self) -> float:
        """Of the rounds."""
        return max(self.values)

    @property
    def faster(self) -> bool | None:
        """Whether the first took less time in every round, or more in every one; else None."""
        if self.most < 1:
            return True
        return False if self.least > 1 else None


def ratios(entry: Json, other: Json, job: str = "seconds") -> Ratios:
    """Returns one's times over the other's; `job` is the field that holds them."""
    return Ratios(tuple(one / two for one, two in zip(entry[job], other[job], strict=True)))


def find(entries: Iterable[Json], **fields: object) -> Json:
    """Returns the one entry that has these fields.

    Raises:
        LookupError: None or several have.
    """
    found = [e for e in entries if all(e[name] == value for name, value in fields.items())]
    if len(found) != 1:
        raise LookupError(f"{len(found)} entries with {fields}")
    return found[0]


def training(records: Iterable[Record]) -> list[Point]:
    """Returns every arm of every TrainTrial; groups are widths."""
    return [
        Point(_kind(arm), record.trial["width"], _step(record, arm), seconds(arm))
        for record in of(records, "TrainTrial")
        for arm in record.result["arms"]
    ]


def peaks(records: Iterable[Record]) -> list[Point]:
    """Returns the peak bytes of every arm of every TrainTrial; groups are widths."""
    return [
        Point(_kind(arm), width, work.held(arm["kind"], width, tokens, arm["size"], arm["plan"]),
              arm["bytes"]["peak"])
        for record in of(records, "TrainTrial")
        for width, tokens in [(record.trial["width"], record.trial["tokens"])]
        for arm in record.result["arms"]
    ]  # fmt: skip


def deltas(records: Iterable[Record]) -> list[Point]:
    """Returns every delta weight of every ConversionTrial; groups are widths."""
    return [
        Point(job["kind"], width, work.delta(job["kind"], width, job["size"]), seconds(job))
        for width, job in _jobs(records)
        if job["job"] == "delta"
    ]


def serving(records: Iterable[Record]) -> list[Point]:
    """Returns every form of every ServeTrial; groups are widths."""
    return [
        Point(form_name(form), record.trial["width"], form["work"], seconds(form))
        for record in of(records, "ServeTrial")
        for form in record.result["forms"]
    ]


def form_name(form: Json) -> str:
    """Returns a form of serving without its size: "base", "live one", "lora batched"."""
    return "base" if form["kind"] == "base" else f"{form['kind']} {form['adapters']}"


def widths(records: Sequence[Record]) -> list[int]:
    """Returns the widths of the records."""
    return sorted({record.trial["width"] for record in records})


def _kind(arm: Json) -> str:
    return str(arm["path"] if arm["kind"] == "fourier" else arm["kind"])


def _step(record: Record, arm: Json) -> work.Work:
    width, tokens = record.trial["width"], record.trial["tokens"]
    if arm["kind"] == "base":
        return work.base(width, tokens)
    if arm["kind"] == "lora":
        return work.lora(width, tokens, arm["size"])
    return work.fourier(width, tokens, arm["size"], arm["plan"])


def _jobs(records: Iterable[Record]) -> Iterator[tuple[int, Json]]:
    for record in of(records, "ConversionTrial"):
        for job in record.result["jobs"]:
            yield record.trial["width"], job
