"""Training curves, and the metric against n and the rank."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from experiments.evidence.blocks import (
    FOURIER,
    LORA,
    Block,
    Figure,
    Level,
    Line,
    Panel,
    Points,
    Section,
    Table,
)
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero
from experiments.evidence.formatting import NONE, UNITS, count, seconds, significant
from experiments.evidence.trainings import (
    Group,
    axis,
    called,
    of_kind,
    paired,
    reported,
    tasks,
    unit,
    untuned,
)  # fmt: skip
from experiments.statistics import Interval
from experiments.text.scoring import others
from experiments.text.tasks import TASKS

_COLOURS = {"fourier": FOURIER, "lora": LORA}
_RATES = """\
LoRA keeps the rate that GLUE's trials chose at r = 8. FourierFT's, chosen at one n, goes with
1 / sqrt(n): Adam moves each coefficient by about the rate, so deltas of every n move alike. No rate
was chosen for a single n or rank."""
_CURVES = "Lines are means over seeds, bands reach from the lowest seed to the highest."


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("curves")
    names = tasks(records)
    if not names:
        return ["Rates have been tried, and no seed has reported yet."]
    return [_RATES, *(block for task in names for block in _task(evidence, task))]


def _task(evidence: Evidence, task: str) -> list[Block]:
    found = sorted(reported(evidence.of("curves"), task), key=lambda group: group.parameters)
    kinds = {kind: [g for g in found if g.method["kind"] == kind] for kind in _COLOURS}
    blocks: list[Block] = [_table(task, [*kinds["fourier"], *kinds["lora"]])]
    blocks += [_scaling_figure(evidence, task, kinds), *_scaling(evidence, task, kinds)]
    matched = [
        (ours, theirs)
        for ours in kinds["fourier"]
        for theirs in kinds["lora"]
        if ours.parameters == theirs.parameters
    ]
    if not matched:
        return [*blocks, "No FourierFT has as many parameters as one of the LoRAs: no curves."]
    return [*blocks, *_matched(evidence, task, matched), *_curves(evidence, task, matched)]


def _table(task: str, found: Sequence[Group]) -> Table:
    first, second = TASKS[task].metric, others(TASKS[task].classes)[0]
    split = TASKS[task].reported
    rows = [
        [
            group.name, count(group.parameters), significant(group.runs[0].trial["rate"]),
            unit(task).value(group.average("choose")), unit(task).interval(group.mean(first)),
            UNITS[second].interval(group.mean(second)), f"{group.average('epoch'):.1f}",
            seconds(group.seconds()), str(len(group.runs)),
        ]
        for group in found
    ]  # fmt: skip
    header = (
        called(task), "parameters beside the head", "rate", unit(task).on("choosing"), axis(task),
        UNITS[second].on(split), "best epoch", "training", "seeds",
    )  # fmt: skip
    return Table(header, rows)


def _scaling_figure(evidence: Evidence, task: str, kinds: dict[str, list[Group]]) -> Figure:
    metric, factor = TASKS[task].metric, unit(task).factor
    marks: list[Points | Level] = []
    for kind, found in kinds.items():
        means = [(group, group.mean(metric)) for group in found]
        if not means:
            continue
        ends = [_ends(mean) for _, mean in means]
        marks.append(
            Points(
                {"fourier": "FourierFT", "lora": "LoRA"}[kind],
                [group.parameters for group in found],
                [factor * mean.mean for _, mean in means],
                [factor * low for low, _ in ends],
                [factor * high for _, high in ends],
                [[factor * value for value in group.values(metric)] for group in found],
                _COLOURS[kind],
                joined=True,
            )
        )
    marks += _levels(evidence, task)
    panel = Panel(called(task), "trained numbers beside the head", axis(task), marks, log_x=True)
    alt = f"{axis(task)} of {called(task)} against trained parameters, of FourierFT and of LoRA."
    return Figure(f"curves-{evidence.size}-{task}-parameters", alt, [panel])


def _levels(evidence: Evidence, task: str) -> list[Level]:
    """What is reached without an adapter: the head alone, and without training."""
    metric, factor = TASKS[task].metric, unit(task).factor
    head = of_kind(reported(evidence.of("glue"), task), "head")
    levels = [] if head is None else [Level("head alone", factor * head.mean(metric).mean)]
    found = untuned(evidence, task) or {}
    names = {"majority": "commonest class", "cosine": "untuned cosine"}
    return levels + [
        Level(name, factor * found[key][metric]) for key, name in names.items() if key in found
    ]


def _scaling(evidence: Evidence, task: str, kinds: dict[str, list[Group]]) -> list[Block]:
    """Whether more parameters help, a method each: the paper's scaling claim."""
    metric = TASKS[task].metric
    rows, said = [], []
    for found in kinds.values():
        if len(found) < 2:
            continue
        means = [group.mean(metric).mean for group in found]
        rises = sum(after > before for before, after in itertools.pairwise(means))
        text = f"- From {found[0].name} to {found[-1].name} the mean rises in {rises} of "
        said.append(f"{text}{len(means) - 1} steps.")
        for group in found[1:]:
            interval = paired(evidence, group, found[0], metric)
            if interval is not None:
                name = f"{group.name} minus {found[0].name}"
                rows.append([name, unit(task).difference(interval)])
        last = paired(evidence, found[-1], found[0], metric)
        if last is not None:
            said.append(against_zero(found[-1].name, found[0].name, last, unit(task)))
    return [Table((axis(task), "difference"), rows), "\n".join(said)]


def _matched(evidence: Evidence, task: str, matched: Sequence[tuple[Group, Group]]) -> list[Block]:
    """FourierFT at LoRA's own count of parameters: open question 2."""
    rows, said = [], []
    for ours, theirs in matched:
        interval = paired(evidence, ours, theirs)
        text = NONE if interval is None else unit(task).difference(interval)
        rows.append([f"{ours.name} minus {theirs.name}", count(ours.parameters), text])
        if interval is not None:
            said.append(against_zero(ours.name, theirs.name, interval, unit(task)))
    header = (axis(task), "parameters of each", "difference")
    return ["With as many parameters as LoRA:", Table(header, rows), "\n".join(said)]


def _curves(evidence: Evidence, task: str, matched: Sequence[tuple[Group, Group]]) -> list[Block]:
    """Loss and the choosing split's metric, epoch by epoch."""
    blocks: list[Block] = [_CURVES]
    wanted = {
        "loss": ("training loss", 1.0),
        "choose": (unit(task).on("choosing split"), unit(task).factor),
    }
    for name, (label, factor) in wanted.items():
        panels = [
            Panel(
                f"{count(ours.parameters)} parameters",
                "epoch",
                label,
                [_line(group, name, factor) for group in (ours, theirs)],
            )
            for ours, theirs in matched
        ]
        alt = f"{called(task)}, {label} by epoch: FourierFT and LoRA with as many parameters."
        blocks.append(Figure(f"curves-{evidence.size}-{task}-{name}", alt, panels, columns=2))
    return [*blocks, _rows_of_curves(task, matched)]


def _line(group: Group, name: str, factor: float) -> Line:
    found = np.array([[e[name] for e in run.result["history"]] for run in group.runs])
    found *= factor  # (seeds, epochs)
    epochs = [float(epoch + 1) for epoch in range(found.shape[1])]
    return Line(
        {"fourier": "FourierFT", "lora": "LoRA"}[group.method["kind"]],
        epochs,
        found.mean(0).tolist(),
        found.min(0).tolist(),
        found.max(0).tolist(),
        _COLOURS[group.method["kind"]],
    )


def _rows_of_curves(task: str, matched: Sequence[tuple[Group, Group]]) -> Table:
    """Ends of the curves: whether training had come to rest."""
    rows = []
    for group in (group for pair in matched for group in pair):
        loss = np.array([[e["loss"] for e in run.result["history"]] for run in group.runs]).mean(0)
        chosen = np.array([[e["choose"] for e in run.result["history"]] for run in group.runs])
        means = chosen.mean(0)
        rows.append(
            [
                group.name, f"{loss[0]:.3f}", f"{loss[-1]:.3f}", unit(task).value(means[0]),
                unit(task).value(means.max()), unit(task).value(means[-1]),
                f"{int(means.argmax()) + 1} of {len(means)}",
            ]
        )  # fmt: skip
    header = (
        "means over seeds", "loss, first epoch", "loss, last", "choosing, first epoch",
        "choosing, best", "choosing, last", "best epoch of the mean",
    )  # fmt: skip
    return Table(header, rows)


def _ends(found: Interval) -> tuple[float, float]:
    """Returns an interval's ends; the mean twice if it has none."""
    low = found.mean if found.low is None else found.low
    return low, found.mean if found.high is None else found.high


SECTION = Section(
    "curves",
    "Training curves and scaling",
    "Do more coefficients help, as the paper says, and what happens when FourierFT gets as many "
    "parameters as LoRA?",
    _rendered,
)
