"""Training curves, and the metric against n and the rank."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments.evidence import codes, epochs, marks, rates, served
from experiments.evidence.baselines import head_level, levels
from experiments.evidence.blocks import (
    Aim,
    Block,
    Figure,
    Level,
    Panel,
    Points,
    Section,
    Table,
)
from experiments.evidence.clocks import clock
from experiments.evidence.differences import AS_UNDER_GLUE, Difference, paired
from experiments.evidence.epochs import KINDS
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import alike, among_many
from experiments.evidence.formatting import NONE, UNITS, count, listed, seconds, significant
from experiments.evidence.limits import NONE_REPORTED, each_seed, limits, planned_seeds, unfinished
from experiments.evidence.trainings import (
    Group,
    axis,
    called,
    of_task,
    reported,
    tasks,
    unit,
    with_tried,
)
from experiments.records import Record
from experiments.settings import table
from experiments.text.scoring import others
from experiments.text.tasks import TASKS


def _rendered(evidence: Evidence) -> list[Block]:
    records, planned = evidence.of("curves"), table("curves", evidence.size)
    names = [*(f"FourierFT n = {n}" for n in planned["ns"])]
    names += [f"LoRA r = {rank}" for rank in planned["ranks"]]
    seeds = planned_seeds("curves", evidence.size)
    missing = unfinished(records, [planned["task"]], names, seeds)
    found = tasks(records)
    if not found:
        return [NONE_REPORTED, *missing, *_aims(evidence)]
    blocks = [*missing, *(block for task in found for block in _task(evidence, task))]
    every = [group for task in found for kind in _kinds(records, task).values() for group in kind]
    return [*blocks, *served.blocks(evidence.size, every), *_aims(evidence)]


def _aims(evidence: Evidence) -> list[Aim]:
    """Of what is served: GLUE's n with each seed, the others with one."""
    planned, glue = table("curves", evidence.size), table("glue", evidence.size)
    seeds = len(planned["seeds"])
    count = sum(seeds if n == glue["n"] else 1 for n in planned["ns"])
    return served.aims(evidence.of("curves"), [planned["task"]], count)


def _task(evidence: Evidence, task: str) -> list[Block]:
    kinds = _kinds(evidence.of("curves"), task)
    found = [group for each in kinds.values() for group in each]
    tuned = _tuned(evidence, found)
    scaling = _scaling_differences(evidence, kinds, tuned)
    matched = [
        (ours, theirs, paired(evidence, ours, theirs))
        for ours in kinds["fourier"]
        for theirs in kinds["lora"]
        if ours.parameters == theirs.parameters
    ]
    known = [*scaling, *(each for _, _, each in matched if each is not None)]
    every = of_task(evidence.of("curves"), task)
    blocks = [
        _rates(evidence, found, tuned),
        AS_UNDER_GLUE,
        *codes.compared((group.name, group.trials) for group in every),
        _table(evidence, task, found, tuned),
        _moved(kinds),
        *rates.tried([group for group in found if group.tried]),
        *limits(task, with_tried(every, evidence.of("glue"))),
        _scaling_figure(evidence, task, kinds),
        *_scaling(evidence, task, kinds, tuned, scaling),
        *_matched(task, matched, tuned),
        *among_many([each.interval for each in known], "of n, of ranks and at equal sizes"),
    ]
    return [*blocks, *epochs.pairs(evidence.size, task, [(a, b) for a, b, _ in matched])]


def _kinds(records: Sequence[Record], task: str) -> dict[str, list[Group]]:
    """Returns FourierFTs and LoRAs that have reported, the smallest first."""
    found = sorted(reported(records, task), key=lambda group: group.parameters)
    return {kind: [g for g in found if g.method["kind"] == kind] for kind in KINDS}


def _tuned(evidence: Evidence, found: Sequence[Group]) -> dict[str, int]:
    """Returns of how many rates each group's is the best, here or by GLUE's trials."""
    of_glue = with_tried([replace(group, tried=()) for group in found], evidence.of("glue"))
    counts = {
        group.name: len(group.tried or other.tried)
        for group, other in zip(found, of_glue, strict=True)
    }
    return {name: many for name, many in counts.items() if many}


def _rates(evidence: Evidence, found: Sequence[Group], tuned: Mapping[str, int]) -> str:
    """Which settings have a rate of their own, and where the others' comes from."""
    glue = table("glue", evidence.size)
    scaled = [group.name for group in found if group.name not in tuned]
    said = f"A rate of their own was chosen, as under GLUE, for {listed(list(tuned)) or 'none'}."
    if not scaled:
        return said
    return (
        f"{said} {listed(scaled)} take a scaled one: other n the one that GLUE's trials chose for "
        f"n = {glue['n']}, times sqrt({glue['n']} / n), as Adam moves each coefficient by about "
        f"the rate; other ranks the one that they chose for r = {glue['rank']}. So a rise or fall "
        "among these may come from the rate."
    )


def _table(
    evidence: Evidence, task: str, found: Sequence[Group], tuned: Mapping[str, int]
) -> Table:
    first, second = TASKS[task].metric, others(TASKS[task].classes)[0]
    seeds = planned_seeds("curves", evidence.size)
    told = clock(run for group in found for run in group.runs)
    rows = [
        [
            group.name, count(group.parameters), significant(group.runs[0].trial["rate"]),
            f"best of {tuned[group.name]}" if group.name in tuned else "scaled",
            NONE if group.delta_norm is None else significant(group.delta_norm),
            unit(task).interval(group.mean(first)), each_seed(group, seeds),
            UNITS[second].interval(group.mean(second)), f"{group.average('epoch'):.1f}",
            seconds(group.seconds(told)),
        ]
        for group in found
    ]  # fmt: skip
    header = (
        called(task), "parameters beside the head", "rate", "how", "delta norm", axis(task),
        "each seed", UNITS[second].on(TASKS[task].reported), "best epoch", told.header,
    )  # fmt: skip
    return Table(header, rows)


def _moved(kinds: Mapping[str, Sequence[Group]]) -> str:
    """Whether deltas of every n, and of every rank, became alike large."""
    lines = []
    for kind, found in kinds.items():
        norms = {g.name: g.delta_norm for g in found if g.delta_norm is not None}
        if len(norms) > 1:
            lines.append(alike(f"{KINDS[kind][0]}'s delta norms", norms))
    text = "A delta norm is the mean over targets and seeds of the delta's Frobenius norm."
    return "\n".join([text, "", *lines]) if lines else text


def _scaling_figure(evidence: Evidence, task: str, kinds: Mapping[str, Sequence[Group]]) -> Figure:
    every: list[Points | Level] = []
    for kind, found in kinds.items():
        if found:
            name, colour = KINDS[kind]
            places = [group.parameters for group in found]
            every.append(marks.means(name, places, found, colour, joined=True))
    every += [*head_level(evidence, task), *levels(evidence, task)]
    panel = Panel(called(task), "trained numbers beside the head", axis(task), every, log_x=True)
    alt = f"{axis(task)} of {called(task)} against trained parameters, of FourierFT and of LoRA."
    return Figure(f"curves-{evidence.size}-{task}-parameters", alt, [panel])


def _scaling_differences(
    evidence: Evidence, kinds: Mapping[str, Sequence[Group]], tuned: Mapping[str, int]
) -> list[Difference]:
    """Each n against the smallest, each rank against the lowest; of those with a rate too."""
    pairs = []
    for found in kinds.values():
        pairs += [(group, found[0]) for group in found[1:]]
        own = [group for group in found if group.name in tuned]
        if len(own) > 1 and (own[-1], own[0]) not in pairs:
            pairs.append((own[-1], own[0]))
    known = [paired(evidence, *pair) for pair in pairs]
    return [each for each in known if each is not None]


def _scaling(
    evidence: Evidence,
    task: str,
    kinds: Mapping[str, Sequence[Group]],
    tuned: Mapping[str, int],
    differences: Sequence[Difference],
) -> list[Block]:
    """Whether more parameters help, a method each: the paper's scaling claim.

    Only what has a rate of its own is concluded on, the most parameters against the fewest.
    """
    if not differences:
        return []
    rows, said = [], []
    for each in differences:
        both = each.ours.name in tuned and each.theirs.name in tuned
        rows.append([each.name, "both tuned" if both else "scaled", each.written])
    for found in kinds.values():
        own = [group for group in found if group.name in tuned]
        said += [
            each.said()
            for each in differences
            if own and (each.ours, each.theirs) == (own[-1], own[0])
        ]
    lines = [*said, *_rises(evidence, task, kinds, tuned)]
    conclusion = ["Of those with a rate of their own the largest against the smallest:", "", *lines]
    if not said:
        conclusion = ["No two sizes of a method have rates of their own.", "", *lines]
    return [Table((axis(task), "rates", "difference"), rows), "\n".join(conclusion)]


def _rises(
    evidence: Evidence,
    task: str,
    kinds: Mapping[str, Sequence[Group]],
    tuned: Mapping[str, int],
) -> list[str]:
    """In how many steps the mean rises among those whose rate is GLUE's, scaled or as it is."""
    glue = table("glue", evidence.size)
    lines = []
    for found in kinds.values():
        alike = [
            group for group in found
            if group.name not in tuned or group.method.get("n") == glue["n"]
        ]  # fmt: skip
        if len(alike) < 2:
            continue
        means = [group.mean(TASKS[task].metric).mean for group in alike]
        rises = sum(after > before for before, after in itertools.pairwise(means))
        lines.append(
            f"- Among {listed([group.name for group in alike])}, at GLUE's rate or a scaled one, "
            f"the mean rises in {rises} of {len(means) - 1} steps."
        )
    return lines


def _matched(
    task: str,
    matched: Sequence[tuple[Group, Group, Difference | None]],
    tuned: Mapping[str, int],
) -> list[Block]:
    """FourierFT at LoRA's own count of parameters: open question 2."""
    if not matched:
        return ["No FourierFT and LoRA of as many parameters have both reported: no curves."]
    rows, said = [], []
    for ours, theirs, each in matched:
        both = ours.name in tuned and theirs.name in tuned
        text = NONE if each is None else each.written
        rates = "both tuned" if both else "scaled"
        rows.append([f"{ours.name} minus {theirs.name}", count(ours.parameters), rates, text])
        if both and each is not None:
            said.append(each.said())
    header = (axis(task), "parameters of each", "rates", "difference")
    conclusion = "\n".join(["Of the pairs that were both tuned:", "", *said])
    if not said:
        conclusion = "No pair was tuned on both sides and shares a seed, so nothing is concluded."
    return ["With as many parameters as LoRA:", Table(header, rows), conclusion]


SECTION = Section(
    "curves",
    "Training curves and scaling",
    "Do more coefficients help, as the paper says, and what happens when FourierFT gets as many "
    "parameters as LoRA?",
    _rendered,
    _aims,
)
