"""FourierFT against LoRA, full fine-tuning, the head alone, and what needs no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.evidence import paper, served
from experiments.evidence.blocks import (
    FOURIER,
    FULL,
    HEAD,
    LORA,
    Aim,
    Block,
    Figure,
    Level,
    Panel,
    Points,
    Section,
    Table,
)
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero, lower_end_above
from experiments.evidence.formatting import NONE, UNITS, count, memory, seconds, significant, size
from experiments.evidence.protocol import INTERVALS, protocol
from experiments.evidence.trainings import (
    Group,
    axis,
    called,
    paired,
    reported,
    seeds_alone,
    tasks,
    unit,
    untuned,
)  # fmt: skip
from experiments.statistics import Interval
from experiments.text.scoring import others
from experiments.text.tasks import TASKS

_AIMS = {"mrpc": -0.02, "stsb": -0.01}
"""Task -> what FourierFT minus LoRA shall lie above, with its whole interval."""
_KINDS = {"head": HEAD, "full": FULL, "lora": LORA, "fourier": FOURIER}
"""Kind of method -> its colour, in the order of the tables."""
_MEANS = """\
What it costs, means over seeds: training alone, in wall and processor time, and the most memory
that the process held meanwhile, libraries and data included."""
_TRIED = "The rates that were tried, each with its score on the choosing split:"
_PAPER = """\
The paper's own figures: other models, n = 1000, medians of 5 seeds, the best epoch chosen on the
split that is reported. They are quoted, not measured here."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("glue")
    names = tasks(records)
    if not names:
        return ["Rates have been tried, and no fresh seed has reported yet."]
    found = {task: _ordered(reported(records, task)) for task in names}
    every = [group for each in found.values() for group in each]
    blocks: list[Block] = [protocol(every), INTERVALS, *_pictures(evidence, found)]
    for task, each in found.items():
        blocks += [
            f"#### {called(task)} ({evidence.size})",
            _reached(evidence, task, each),
            _MEANS,
            _costs(each),
        ]
        blocks += [_TRIED, _rates(task, each), *_edges(task, each)]
        blocks += _differences(evidence, task, each)
    blocks += served.blocks(evidence.size, every)
    return blocks


def _ordered(found: Sequence[Group]) -> list[Group]:
    return sorted(found, key=lambda group: list(_KINDS).index(group.method["kind"]))


def _reached(evidence: Evidence, task: str, found: Sequence[Group]) -> Table:
    """What needs no training, then the methods: both metrics, and each seed."""
    first, second = TASKS[task].metric, others(TASKS[task].classes)[0]
    rows = []
    names = {"majority": "always train's commonest class", "cosine": "untuned cosine"}
    for key, name in names.items():
        scores = (untuned(evidence, task) or {}).get(key)
        if scores is not None:
            written = [UNITS[metric].value(scores[metric]) for metric in (first, second)]
            rows.append([name, NONE, NONE, NONE, written[0], NONE, written[1]])
    for group in found:
        values = " ".join(unit(task).value(value) for value in group.values(first))
        rows.append(
            [
                group.name, count(group.parameters), count(group.average("head")), _rate(group),
                unit(task).interval(group.mean(first)), values,
                UNITS[second].interval(group.mean(second)),
            ]
        )  # fmt: skip
    header = (
        "method", "parameters beside the head", "head", "rate", axis(task),
        f"seeds {_seeds(found)}", UNITS[second].on(TASKS[task].reported),
    )  # fmt: skip
    return Table(header, rows)


def _costs(found: Sequence[Group]) -> Table:
    """Means over seeds."""
    rows = [
        [
            group.name, size(group.average("file_bytes")), seconds(group.seconds()),
            seconds(group.seconds("cpu_seconds")), memory(group.average("peak_bytes")),
            f"{group.average('epoch'):.1f} of {group.runs[0].trial['epochs']}",
        ]
        for group in found
    ]  # fmt: skip
    header = ("method", "file, with the head", "training", "processor", "peak memory", "best epoch")
    return Table(header, rows)


def _rates(task: str, found: Sequence[Group]) -> Table:
    most = max(len(group.tried) for group in found)
    rows = []
    for group in found:
        cells = [
            f"{run.trial['rate']:g}: {unit(task).value(run.result['choose'])}"
            for run in group.tried
        ]
        rows.append([group.name, *cells, *[NONE] * (most - len(cells)), _rate(group)])
    return Table(("method", *("rate: score",) * most, "chosen"), rows)


def _edges(task: str, found: Sequence[Group]) -> list[str]:
    """Says where a better rate may lie beyond those that were tried."""
    ends = {0: "lowest", -1: "highest"}
    at = [
        f"- {group.name}: the {word} rate that was tried is chosen; a better one may lie beyond."
        for group in found
        for place, word in ends.items()
        if group.tried and group.runs[0].trial["rate"] == group.tried[place].trial["rate"]
    ]
    return ["\n".join([f"{called(task)}:", "", *at])] if at else []


def _differences(evidence: Evidence, task: str, found: Sequence[Group]) -> list[Block]:
    kinds = {group.method["kind"]: group for group in found}
    wanted = [("fourier", "lora"), ("lora", "head"), ("fourier", "head"), ("full", "lora")]
    there = [pair for pair in wanted if kinds.keys() >= set(pair)]
    known: dict[tuple[str, str], Interval] = {}
    rows = []
    for ours, theirs in there:
        interval = paired(evidence, kinds[ours], kinds[theirs])
        if interval is None:
            continue
        known[ours, theirs] = interval
        alone = seeds_alone(kinds[ours], kinds[theirs])
        text = NONE if alone is None else unit(task).difference(alone)
        name = f"{kinds[ours].name} minus {kinds[theirs].name}"
        rows.append([name, unit(task).difference(interval), text])
    if not rows:
        return [
            f"No labels of {called(task)} are known at this size, so no difference has an interval."
        ]
    header = (axis(task), "difference", "over seeds alone")
    said = [
        against_zero(kinds[ours].name, kinds[theirs].name, interval, unit(task))
        for (ours, theirs), interval in known.items()
    ]
    return [Table(header, rows), "\n".join(said), *_headline(task, kinds, known)]


def _headline(
    task: str, kinds: dict[str, Group], known: dict[tuple[str, str], Interval]
) -> list[Block]:
    """The aims on MRPC and STS-B, and whether the comparison could show anything.

    FourierFT that is as good as a LoRA which is no better than the head reaches no aim.
    """
    ours, gain = known.get(("fourier", "lora")), known.get(("lora", "head"))
    if ours is None or gain is None:
        return []
    clear = gain.low is not None and gain.low > 0
    blocks: list[Block] = []
    if task in _AIMS:
        what = f"{called(task)}, {kinds['fourier'].name} minus {kinds['lora'].name}"
        above = lower_end_above(what, ours, _AIMS[task], unit(task))
        numbers = unit(task).called(unit(task).difference(gain))
        what = f"{called(task)}, {kinds['lora'].name} minus the head alone"
        blocks += [
            above if clear or not above.reached else replace(above, reached=None),
            Aim(what, "clearly above 0", numbers, clear),
        ]
    if not clear:
        blocks.append(
            f"On {called(task)} LoRA itself is not clearly above the head alone, so the comparison "
            "of FourierFT with LoRA shows nothing there. What was tried stands in the table of "
            "rates."
        )
    return blocks


def _pictures(evidence: Evidence, found: dict[str, list[Group]]) -> list[Figure]:
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
        ends = [] if mean.low is None or mean.high is None else [(mean.low, mean.high)]
        marks.append(
            Points(
                group.name,
                [place],
                [factor * mean.mean],
                [factor * low for low, _ in ends],
                [factor * high for _, high in ends],
                [[factor * value for value in group.values(metric)]],
                _KINDS[group.method["kind"]],
            )
        )
    baselines = untuned(evidence, task) or {}
    names = {"majority": "commonest class", "cosine": "untuned cosine"}
    marks += [
        Level(name, factor * baselines[key][metric])
        for key, name in names.items()
        if key in baselines
    ]
    short = {"head": "head", "full": "full", "lora": "LoRA", "fourier": "FourierFT"}
    categories = [short[group.method["kind"]] for group in found]
    return Panel(called(task), "", axis(task), marks, categories=categories)


def _rate(group: Group) -> str:
    return significant(group.runs[0].trial["rate"])


def _seeds(found: Sequence[Group]) -> str:
    every = sorted({seed for group in found for seed in group.seeds})
    return " ".join(str(seed) for seed in every)


SECTION = Section(
    "glue",
    "GLUE",
    "Is FourierFT as good as LoRA with a tenth of its parameters, on real tasks, and does ONNX "
    "Runtime answer as torch does?",
    _rendered,
    [_PAPER, paper.glue_table()],
)
