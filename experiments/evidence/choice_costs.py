"""What FourierFT costs beside LoRA, at a glance: ratios, and the sentences that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.cost.points import Ratios, of
from experiments.evidence.blocks import Block, Table
from experiments.evidence.clocks import clock, peak_bytes
from experiments.evidence.codes import changed
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, listed, significant
from experiments.evidence.headline import Headline
from experiments.evidence.sections.cost_comparing import RANK, usual
from experiments.evidence.sections.cost_serving import FED, PAIRS, over_lora
from experiments.evidence.trainings import Group, called

_TEXT = """\
FourierFT's over LoRA's; below 1 FourierFT needs less. Of the tasks above, from the least to the
most."""
_SERVING = """\
Serving is of adapters that are not merged, of one pair of layers, n = {n} beside r = {rank}: of all
widths and batches under "What it costs" the least and the most median."""
_SMALL = "FourierFT is the smaller: {parameters} of LoRA's trained numbers, {file} of its file."
_PLACES = "each width and batch that was measured, by the medians"


@dataclass(frozen=True, slots=True)
class Costs:
    """FourierFT's over LoRA's.

    Attributes:
        parameters: Trained numbers beside the head, of each task.
        file: Bytes of the file, of each task.
        clock: What `time` is of.
        time: Time of training: task -> means over seeds.
        seeds: Task on which all planned seeds have reported -> whether each took longer than any of
            LoRA's; None if neither did.
        peak: Memory of training, of each task; as `time` none where clocks differ.
        served: Name of a row -> the medians of all widths and batches; none if not measured.
        n: Coefficients that were served.
    """

    parameters: Sequence[float]
    file: Sequence[float]
    clock: str
    time: Mapping[str, float]
    seeds: Mapping[str, bool | None]
    peak: Sequence[float]
    served: Mapping[str, Sequence[float]]
    n: int | None


def costs(evidence: Evidence, tasks: Sequence[Headline]) -> Costs:
    """Returns what was measured where FourierFT and LoRA have both reported, and in serving."""
    pairs = {task.task: pair for task in tasks if (pair := _pair(task)) is not None}
    whole = {task.task for task in tasks if not task.lacking("fourier", "lora")}
    told = clock(run for pair in pairs.values() for group in pair for run in group.runs)
    timed = pairs if told.comparable else {}
    served = of(evidence.of("cost"), "ServeTrial")
    known = served if served and RANK in served[0].trial["ranks"] else []
    n = usual(known) if known else None
    both = list(pairs.values())
    return Costs(
        parameters=[a.parameters / b.parameters for a, b in both],
        file=[a.average("file_bytes") / b.average("file_bytes") for a, b in both],
        clock=told.header,
        time={task: a.seconds(told) / b.seconds(told) for task, (a, b) in timed.items()},
        seeds={
            task: _longer(a.seconds_of_each(told), b.seconds_of_each(told))
            for task, (a, b) in timed.items()
            if task in whole
        },
        peak=[peak_bytes(a.runs) / peak_bytes(b.runs) for a, b in timed.values()],
        served={
            f"serving, {FED[ours]}, beside {peer}": []
            if n is None
            else _medians(over_lora(known, n, ours, theirs))
            for _, ours, theirs, peer in PAIRS
        },
        n=n,
    )


def _medians(found: Mapping[str, Ratios]) -> list[float]:
    return [each.median for each in found.values()]


def table(found: Costs) -> list[Block]:
    """Returns the ratios, with what they are above them."""
    measured = {
        "trained numbers beside the head": found.parameters,
        "bytes of the file, with the head": found.file,
        f"training, {found.clock}": list(found.time.values()),
        "peak memory of training": found.peak,
        **found.served,
    }
    rows = [[name, _span(values)] for name, values in measured.items()]
    text = _TEXT if found.n is None else f"{_TEXT} {_SERVING.format(n=found.n, rank=RANK)}"
    return [text, Table(("FourierFT over LoRA", "ratio"), rows)]


def said(found: Costs) -> list[str]:
    """Returns sentences, each where the numbers support it."""
    return [*_size(found), *_time(found), *_serving(found)]


def code(tasks: Sequence[Headline]) -> list[str]:
    """Returns a sentence where the two did not run with the same code."""
    pairs = [pair for task in tasks if (pair := _pair(task)) is not None]
    if not changed([run for pair in pairs for group in pair for run in group.runs]):
        return []
    return ["Not all of these ran with the same training code: GLUE's section lists it."]


def _pair(task: Headline) -> tuple[Group, Group] | None:
    """Returns FourierFT and LoRA, where both have reported."""
    both = [task.groups[kind] for kind in ("fourier", "lora") if kind in task.groups]
    if len(both) < 2 or not all(group.runs for group in both):
        return None
    return both[0], both[1]


def _longer(ours: Sequence[float], theirs: Sequence[float]) -> bool | None:
    if min(ours) > max(theirs):
        return True
    return False if max(ours) < min(theirs) else None


def _size(found: Costs) -> list[str]:
    if not found.parameters or max(*found.parameters, *found.file) >= 1:
        return []
    return [_SMALL.format(parameters=_span(found.parameters), file=_span(found.file))]


def _time(found: Costs) -> list[str]:
    """On which tasks each seed of one took longer than any of the other."""
    words = {True: "takes longer", False: "takes less time"}
    parts = []
    for verdict, word in words.items():
        own = [called(task) for task, longer in found.seeds.items() if longer is verdict]
        parts += [f"{word} on {listed(own)}"] if own else []
    return [f"FourierFT's training {' and '.join(parts)}, with every seed."] if parts else []


def _serving(found: Costs) -> list[str]:
    """Whether one adapter for all rows is always slower, or always faster."""
    medians = next(iter(found.served.values()))
    if not medians or min(medians) <= 1 <= max(medians):
        return []
    word = "slower" if min(medians) > 1 else "faster"
    return [f"Served live, one adapter for all rows, FourierFT is {word} than LoRA at {_PLACES}."]


def _span(values: Sequence[float]) -> str:
    """Returns the least and the most; one number where they look alike."""
    written = {f"{v:.2f}" if v >= 0.1 else significant(v, 2) for v in values}
    ends = sorted(written, key=float)
    return " to ".join([ends[0], ends[-1]] if len(ends) > 1 else ends) or NONE
