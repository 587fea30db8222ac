"""FourierFT against LoRA, full fine-tuning, the head alone, and what needs no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments.evidence import paper, served
from experiments.evidence.baselines import NAMES, levels, untuned
from experiments.evidence.blocks import (
    FOURIER,
    FULL,
    HEAD,
    LORA,
    Block,
    Figure,
    Level,
    Panel,
    Points,
    Section,
    Table,
)
from experiments.evidence.differences import INTERVALS, Difference, paired, seeds_alone
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import among_many, lower_end_above
from experiments.evidence.formatting import NONE, UNITS, count, memory, seconds, size
from experiments.evidence.limits import each_seed, limits, planned_seeds, unfinished
from experiments.evidence.protocol import protocol
from experiments.evidence.rates import chosen, tried
from experiments.evidence.trainings import (
    CREDITS,
    Group,
    axis,
    called,
    of_task,
    reported,
    tasks,
    unit,
)
from experiments.settings import table
from experiments.statistics import Interval
from experiments.text.scoring import others
from experiments.text.tasks import TASKS

_AIMS = {"mrpc": -0.02, "stsb": -0.01}
"""Task -> what FourierFT minus LoRA shall lie above, with its whole interval."""
_KINDS = {
    "head": ("head", HEAD),
    "full": ("full", FULL),
    "lora": ("LoRA", LORA),
    "fourier": ("FourierFT", FOURIER),
}
"""Kind of method -> its short name and its colour, in the order of the tables."""
_PAIRS = (("fourier", "lora"), ("lora", "head"), ("fourier", "head"), ("full", "lora"))
_MEANS = """\
What it costs, means over seeds: training alone, in processor time, and the most memory that the
trial's own process held in an epoch, libraries and data included. Wall time is left out, as trials
shared the machine with other work."""
_PAPER = """\
The paper's own figures: other models, n = 1000, medians of 5 seeds, the best epoch chosen on the
split that is reported. They are quoted, not measured here."""


def _rendered(evidence: Evidence) -> list[Block]:
    records, planned = evidence.of("glue"), list(table("glue", evidence.size)["tasks"])
    seeds = planned_seeds("glue", evidence.size)
    names = [name for name, _ in _KINDS.values()]
    missing = unfinished(records, planned, names, seeds, _short)
    found = {task: _ordered(reported(records, task)) for task in tasks(records)}
    aims = [aim for task in planned if task not in found for aim in _headline(task, {}, {})]
    if not found:
        return ["Rates have been tried, and no fresh seed has reported yet.", *missing, *aims]
    every = [group for each in found.values() for group in each]
    blocks: list[Block] = [protocol(every), INTERVALS, *missing, *_pictures(evidence, found)]
    known = {task: _differences(evidence, each) for task, each in found.items()}
    for task, each in found.items():
        blocks += _task(evidence, task, each, known[task], seeds)
    differences = [each.interval for of in known.values() for each in of.values()]
    if len(differences) > 1:
        blocks.append(among_many(differences))
    return [*blocks, *aims, *served.blocks(evidence.size, every)]


def _task(
    evidence: Evidence,
    task: str,
    found: Sequence[Group],
    known: Mapping[tuple[str, str], Difference],
    seeds: Sequence[int],
) -> list[Block]:
    return [
        f"#### {called(task)} ({evidence.size})",
        _reached(evidence, task, found, seeds),
        *([CREDITS[task]] if task in CREDITS else []),
        _MEANS,
        _costs(found),
        *tried(found),
        limits(task, of_task(evidence.of("glue"), task)),
        *_compared(task, known),
        *_headline(task, {group.method["kind"]: group for group in found}, known),
    ]


def _short(group: Group) -> str:
    return _KINDS[group.method["kind"]][0]


def _ordered(found: Sequence[Group]) -> list[Group]:
    return sorted(found, key=lambda group: list(_KINDS).index(group.method["kind"]))


def _reached(evidence: Evidence, task: str, found: Sequence[Group], seeds: Sequence[int]) -> Table:
    """What needs no training, then the methods: both metrics, and each seed."""
    first, second = TASKS[task].metric, others(TASKS[task].classes)[0]
    rows = []
    baselines = untuned(evidence, task)
    for key, name in NAMES.items():
        if key in baselines:
            written = [UNITS[metric].value(baselines[key][metric]) for metric in (first, second)]
            rows.append([name, NONE, NONE, NONE, written[0], NONE, written[1]])
    rows += [
        [
            group.name, count(group.parameters), count(group.average("head")), chosen(group),
            unit(task).interval(group.mean(first)), each_seed(group, seeds),
            UNITS[second].interval(group.mean(second)),
        ]
        for group in found
    ]  # fmt: skip
    header = (
        "method", "parameters beside the head", "head", "rate", axis(task), "each seed",
        UNITS[second].on(TASKS[task].reported),
    )  # fmt: skip
    return Table(header, rows)


def _costs(found: Sequence[Group]) -> Table:
    """Means over seeds."""
    rows = [
        [
            group.name, size(group.average("file_bytes")), seconds(group.seconds()),
            memory(group.average("peak_bytes")),
            f"{group.average('epoch'):.1f} of {group.runs[0].trial['epochs']}",
        ]
        for group in found
    ]  # fmt: skip
    header = ("method", "file, with the head", "processor", "peak memory", "best epoch")
    return Table(header, rows)


def _differences(evidence: Evidence, found: Sequence[Group]) -> dict[tuple[str, str], Difference]:
    kinds = {group.method["kind"]: group for group in found}
    known = {
        (ours, theirs): paired(evidence, kinds[ours], kinds[theirs])
        for ours, theirs in _PAIRS
        if ours in kinds and theirs in kinds
    }
    return {pair: each for pair, each in known.items() if each is not None}


def _compared(task: str, known: Mapping[tuple[str, str], Difference]) -> list[Block]:
    if not known:
        return [f"{called(task)}: no two methods share a seed yet, or the gold scores are missing."]
    rows = [
        [each.name, each.written, unit(task).difference(seeds_alone(each.ours, each.theirs))]
        for each in known.values()
    ]
    header = (axis(task), "difference", "over seeds alone")
    return [Table(header, rows), "\n".join(each.said() for each in known.values())]


def _headline(
    task: str, kinds: Mapping[str, Group], known: Mapping[tuple[str, str], Difference]
) -> list[Block]:
    """The aims on MRPC and STS-B, and whether the comparison could show anything.

    FourierFT that is as good as a LoRA which is no better than the head reaches no aim.
    """
    ours, gain = known.get(("fourier", "lora")), known.get(("lora", "head"))
    clear = gain is not None and gain.clear
    blocks: list[Block] = []
    if task in _AIMS:
        names = {
            kind: kinds[kind].name if kind in kinds else short
            for kind, (short, _) in _KINDS.items()
        }
        what = f"{called(task)}, {names['fourier']} minus {names['lora']}"
        above = lower_end_above(what, _interval(ours), _AIMS[task], unit(task))
        what = f"{called(task)}, {names['lora']} minus the head alone"
        blocks += [
            above if clear or not above.reached else replace(above, reached=None),
            lower_end_above(what, _interval(gain), 0.0, unit(task)),
        ]
    if gain is not None and not clear:
        blocks.append(
            f"On {called(task)} LoRA itself is not clearly above the head alone, so the comparison "
            "of FourierFT with LoRA shows nothing there. What was tried stands in the table of "
            "rates."
        )
    return blocks


def _interval(found: Difference | None) -> Interval | None:
    return None if found is None else found.interval


def _pictures(evidence: Evidence, found: Mapping[str, list[Group]]) -> list[Figure]:
    """Three tasks a picture."""
    names = list(found)
    parts = [names[start : start + 3] for start in range(0, len(names), 3)]
    return [
        Figure(
            f"glue-{evidence.size}" + (f"-{number + 1}" if len(parts) > 1 else ""),
            f"Methods on {', '.join(map(called, part))}: means with intervals, and each seed.",
            [_panel(evidence, task, found[task]) for task in part],
        )
        for number, part in enumerate(parts)
    ]


def _panel(evidence: Evidence, task: str, found: Sequence[Group]) -> Panel:
    metric, factor = TASKS[task].metric, unit(task).factor
    marks: list[Points | Level] = []
    for place, group in enumerate(found):
        mean = group.mean(metric)
        ends = [] if mean.low is None else [mean.ends]
        marks.append(
            Points(
                group.name,
                [place],
                [factor * mean.mean],
                [factor * low for low, _ in ends],
                [factor * high for _, high in ends],
                [[factor * value for value in group.values(metric)]],
                _KINDS[group.method["kind"]][1],
            )
        )
    categories = [_short(group) for group in found]
    marks += levels(evidence, task)
    return Panel(called(task), "", axis(task), marks, categories=categories)


SECTION = Section(
    "glue",
    "GLUE",
    "Is FourierFT as good as LoRA with a tenth of its parameters, on real tasks, and does ONNX "
    "Runtime answer as torch does?",
    _rendered,
    [_PAPER, paper.glue_table()],
)
