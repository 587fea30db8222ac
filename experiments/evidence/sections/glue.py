"""FourierFT against LoRA, full fine-tuning, the head alone, and what needs no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments.evidence import marks, paper, served
from experiments.evidence.baselines import NAMES, levels, untuned
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
from experiments.evidence.clocks import clock, peak_bytes
from experiments.evidence.differences import INTERVALS, Difference, paired, seeds_alone
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import among_many
from experiments.evidence.formatting import NONE, UNITS, count, listed, memory, seconds, size
from experiments.evidence.headline import headlines
from experiments.evidence.limits import NONE_REPORTED, each_seed, limits, planned_seeds, unfinished
from experiments.evidence.protocol import protocol
from experiments.evidence.rates import chosen, tried
from experiments.evidence.trainings import (
    CREDITS,
    Group,
    axis,
    called,
    of_task,
    reported,
    short_name,
    tasks,
    unit,
)
from experiments.settings import table
from experiments.text.scoring import others
from experiments.text.tasks import TASKS

_COLOURS = {"head": HEAD, "full": FULL, "lora": LORA, "fourier": FOURIER}
"""Kind of method -> its colour, in the order of the tables."""
_PAIRS = (("fourier", "lora"), ("lora", "head"), ("fourier", "head"), ("full", "lora"))
_PAPER = """\
The paper's own figures: other models, n = 1000, medians of 5 seeds, the best epoch chosen on the
split that is reported. They are quoted, not measured here."""


def _rendered(evidence: Evidence) -> list[Block]:
    records, planned = evidence.of("glue"), list(table("glue", evidence.size)["tasks"])
    seeds = planned_seeds("glue", evidence.size)
    missing = unfinished(records, planned, _names(evidence.size), seeds, lambda g: g.short)
    found = {task: _ordered(reported(records, task)) for task in tasks(records)}
    if not found:
        return [NONE_REPORTED, *missing, *_aims(evidence)]
    every = [group for each in found.values() for group in each]
    told = "\n".join([protocol(every), *_added(evidence.size, every)])
    blocks: list[Block] = [told, INTERVALS, *missing, *_pictures(evidence, found)]
    known = {task: _differences(evidence, each) for task, each in found.items()}
    for task, each in found.items():
        blocks += _task(evidence, task, each, known[task], seeds)
    differences = [of["fourier", "lora"].interval for of in known.values() if _PAIRS[0] in of]
    blocks += among_many(differences, "FourierFT minus LoRA")
    blocks += [text for each in headlines(evidence) for text in each.remarks()]
    return [*blocks, *served.blocks(evidence.size, every), *_aims(evidence)]


def _aims(evidence: Evidence) -> list[Aim]:
    """The headline on MRPC and STS-B, and what was served, of each task."""
    planned, seeds = table("glue", evidence.size), planned_seeds("glue", evidence.size)
    return [
        *(aim for each in headlines(evidence) for aim in each.aims()),
        *served.aims(evidence.of("glue"), planned["tasks"], len(seeds)),
    ]


def _names(size_name: str) -> list[str]:
    """Returns what is compared, by configs/glue.toml."""
    layers = table("glue", size_name)["trained_layers"]
    return [short_name({"kind": kind, "layers": layers}) for kind in _COLOURS]


def _added(size_name: str, found: Sequence[Group]) -> list[str]:
    """Returns which rates the grids had not at first, by configs/glue.toml, as a line of a list."""
    added = table("glue", size_name).get("added_rates", {})
    if not added:
        return []
    at = []
    for group in found:
        later = added.get(group.method["kind"], [])
        first = replace(group, tried=tuple(r for r in group.tried if r.trial["rate"] not in later))
        at += [f"{group.short} on {called(group.task)} (the {word})" for word in _best_at(first)]
    each = "; ".join(
        f"{short_name({'kind': kind, 'layers': table('glue', size_name)['trained_layers']})} "
        f"{listed([f'{rate:g}' for rate in rates])}"
        for kind, rates in added.items()
    )
    text = f"- Not all rates were planned. These were added once the others had been tried: {each}."
    why = f" Of the first ones the best was at an end for {listed(at)}." if at else ""
    return [text + why]


def _best_at(group: Group) -> list[str]:
    """Returns "lowest" or "highest" where that end of what was tried scored best."""
    if not group.tried:
        return []
    best = max(group.tried, key=lambda run: float(run.result["choose"]))  # the lower one on a tie
    return [
        word for word, end in (("lowest", group.tried[0]), ("highest", group.tried[-1]))
        if end is best
    ]  # fmt: skip


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
        *_costs(found),
        *tried(found),
        *limits(task, of_task(evidence.of("glue"), task)),
        *_compared(task, known),
    ]


def _ordered(found: Sequence[Group]) -> list[Group]:
    return sorted(found, key=lambda group: list(_COLOURS).index(group.method["kind"]))


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


def _costs(found: Sequence[Group]) -> list[Block]:
    told = clock(run for group in found for run in group.runs)
    rows = [
        [
            group.name, size(group.average("file_bytes")), seconds(group.seconds(told)),
            memory(peak_bytes(group.runs)),
            f"{group.average('epoch'):.1f} of {group.runs[0].trial['epochs']}",
        ]
        for group in found
    ]  # fmt: skip
    header = ("method", "file, with the head", told.header, "peak memory", "best epoch")
    text = f"What it costs, means over seeds, training alone. {told.said}"
    return [text, Table(header, rows)]


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
    first, second = TASKS[task].metric, others(TASKS[task].classes)[0]
    rows = [
        [
            each.name, each.written,
            *(UNITS[name].difference(seeds_alone(each.ours, each.theirs, name))
              for name in (first, second)),
        ]
        for each in known.values()
    ]  # fmt: skip
    header = (
        axis(task), "difference", "over seeds alone",
        f"{UNITS[second].on(TASKS[task].reported)}, over seeds alone",
    )  # fmt: skip
    return [Table(header, rows), "\n".join(each.said() for each in known.values())]


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
    every: list[Points | Level] = [
        marks.means(group.name, [place], [group], _COLOURS[group.method["kind"]])
        for place, group in enumerate(found)
    ]
    every += levels(evidence, task)
    categories = [group.short.replace(" ", "\n", 1) for group in found]
    return Panel(called(task), "", axis(task), every, categories=categories)


SECTION = Section(
    "glue",
    "GLUE",
    "Is FourierFT as good as LoRA with a tenth of its parameters, on real tasks, and does ONNX "
    "Runtime answer as torch does?",
    _rendered,
    _aims,
    [_PAPER, paper.glue_table()],
)
