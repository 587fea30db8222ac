"""FourierFT and LoRA with more layers or epochs than under GLUE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.evidence import codes, served
from experiments.evidence.blocks import Aim, Block, Section, Table
from experiments.evidence.clocks import clock, peak_bytes
from experiments.evidence.differences import AS_UNDER_GLUE, contrasted, paired
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero, among_many
from experiments.evidence.formatting import Unit, count, memory, seconds
from experiments.evidence.limits import NONE_REPORTED, each_seed, planned_seeds, sweep
from experiments.evidence.rates import chosen
from experiments.evidence.sweeps import lacks, unfinished
from experiments.evidence.trainings import (
    CREDITS,
    Group,
    axis,
    called,
    metric,
    of_task,
    short_name,
    unit,
)
from experiments.further import epochs
from experiments.settings import table
from experiments.statistics import Interval
from experiments.trial import Json

_TEXT = """\
Tried once GLUE's results had been seen, to find what bounds FourierFT there: what stands here
suggests, and decides no aim of GLUE's. All is as under GLUE but for what a setting's name says.
Each method takes the rate that was chosen for it there, which need not be the best here."""
_KINDS = ("lora", "fourier")
_GLUE = "as under GLUE"


Pair = tuple[str, str]
"""Names of what is compared."""


@dataclass(frozen=True, slots=True)
class _Arm:
    """A method in a variant, or as under GLUE."""

    setting: str
    group: Group

    @property
    def kind(self) -> str:
        return str(self.group.method["kind"])

    @property
    def name(self) -> str:
        return f"{self.group.name}, {self.setting}"


def _rendered(evidence: Evidence) -> list[Block]:
    planned = _tasks(evidence.size)
    arms = {task: _arms(evidence, task, variants) for task, variants in planned.items()}
    if not any(arm.group.runs and arm.setting != _GLUE for each in arms.values() for arm in each):
        return [NONE_REPORTED, *_unfinished(evidence, arms), *_aims(evidence)]
    named = [(arm.name, arm.group.runs) for every in arms.values() for arm in every]
    blocks: list[Block] = [
        _TEXT,
        AS_UNDER_GLUE,
        *codes.compared(named),
        *_unfinished(evidence, arms),
    ]
    intervals: list[Interval] = []
    for task, every in arms.items():
        found = [arm for arm in every if arm.group.runs]
        if all(arm.setting == _GLUE for arm in found):
            continue
        known, nearer = dict(_differences(evidence, found)), dict(_nearer(evidence, found))
        intervals += [*known.values(), *nearer.values()]
        blocks += [f"#### {called(task)}, further ({evidence.size})", _table(evidence, task, found)]
        blocks += [CREDITS[task]] if task in CREDITS else []
        blocks += [*_compared(task, known), *_answered(task, nearer), *_lacks(task, every)]
    blocks += among_many(intervals, "of the tables above")
    return [*blocks, *_served(evidence.size, arms), *_aims(evidence)]


def _aims(evidence: Evidence) -> list[Aim]:
    """Of what is served: FourierFT in every variant, with each seed."""
    seeds, records = planned_seeds("further", evidence.size), evidence.of("further")
    return [
        aim
        for task, variants in _tasks(evidence.size).items()
        for aim in served.aims(records, [task], len(variants) * len(seeds))
    ]


def _tasks(size: str) -> dict[str, dict[str, Json]]:
    """Returns task -> its variants, by name."""
    variants = table("further", size)["variants"]
    tasks = dict.fromkeys(task for fields in variants.values() for task in fields["tasks"])
    return {
        task: {name: fields for name, fields in variants.items() if task in fields["tasks"]}
        for task in tasks
    }


def _arms(evidence: Evidence, task: str, variants: Mapping[str, Json]) -> list[_Arm]:
    """Returns both methods as under GLUE, then in each variant, as far as they have begun."""
    glue = table("glue", evidence.size)["tasks"]
    settings = {_GLUE: evidence.of("glue")} | {
        name: tuple(
            record
            for record in evidence.of("further")
            if record.trial["trained_layers"] == fields["trained_layers"]
            and record.trial["epochs"] == epochs(fields, glue)[task]
        )
        for name, fields in variants.items()
    }
    return [
        _Arm(name, group)
        for name, records in settings.items()
        for kind in _KINDS
        for group in of_task(records, task)
        if group.method["kind"] == kind
    ]


def _unfinished(evidence: Evidence, arms: Mapping[str, list[_Arm]]) -> list[str]:
    def name(task: str, method: Json, setting: str) -> str:
        return f"{called(task)} {short_name(method)}, {setting}"

    seeds = planned_seeds("further", evidence.size)
    wanted = {
        name(task, {"kind": kind}, variant): seeds
        for task, variants in _tasks(evidence.size).items()
        for variant in variants
        for kind in _KINDS
    }
    begun = [
        sweep(arm.group, name(task, arm.group.method, arm.setting))
        for task, every in arms.items()
        for arm in every
    ]
    return unfinished(wanted, begun)


def _table(evidence: Evidence, task: str, found: Sequence[_Arm]) -> Table:
    told = clock(run for arm in found for run in arm.group.runs)
    of_glue, seeds = (planned_seeds(name, evidence.size) for name in ("glue", "further"))
    rows = [
        [
            arm.setting, arm.group.name, count(arm.group.parameters), chosen(arm.group),
            unit(task).interval(arm.group.mean(metric(task))),
            each_seed(arm.group, of_glue if arm.setting == _GLUE else seeds),
            f"{arm.group.average('epoch'):.1f} of {arm.group.runs[0].trial['epochs']}",
            seconds(arm.group.seconds(told)), memory(peak_bytes(arm.group.runs)),
        ]
        for arm in found
    ]  # fmt: skip
    header = (
        called(task), "method", "parameters beside the head", "rate", axis(task), "each seed",
        "best epoch", told.header, "peak memory",
    )  # fmt: skip
    return Table(header, rows)


def _differences(evidence: Evidence, found: Sequence[_Arm]) -> Iterator[tuple[Pair, Interval]]:
    """Yields names and difference: of methods in each setting, then of each variant and GLUE's."""
    pairs = [(a, b) for a in found for b in found if (a.kind, b.kind) == ("fourier", "lora")]
    within = [(a, b) for a, b in pairs if a.setting == b.setting]
    beside = [
        (a, b) for a in found for b in found if a.kind == b.kind and a.setting != b.setting == _GLUE
    ]
    for ours, theirs in (*within, *beside):
        each = paired(evidence, ours.group, theirs.group)
        if each is not None:
            yield (ours.name, theirs.name), each.interval


def _nearer(evidence: Evidence, found: Sequence[_Arm]) -> Iterator[tuple[str, Interval]]:
    """Yields a variant and how much FourierFT minus LoRA is there above what it is under GLUE."""
    arms = {(arm.setting, arm.kind): arm.group for arm in found}
    for setting in dict.fromkeys(arm.setting for arm in found if arm.setting != _GLUE):
        wanted = [
            (setting, "fourier"), (_GLUE, "lora"), (setting, "lora"), (_GLUE, "fourier"),
        ]  # fmt: skip
        if all(each in arms for each in wanted):
            every = [arms[each] for each in wanted]
            known = contrasted(evidence, every[:2], every[2:])
            if known is not None:
                yield setting, known[0]


def _answered(task: str, nearer: Mapping[str, Interval]) -> list[Block]:
    """The section's question: of the same seeds on the same examples."""
    if not nearer:
        return []
    rows = [[setting, unit(task).difference(each)] for setting, each in nearer.items()]
    lines = [_sentence(setting, each, unit(task)) for setting, each in nearer.items()]
    header = (
        f"{axis(task)}: FourierFT minus LoRA",
        "there above what it is under GLUE",
    )
    return [Table(header, rows), "\n".join(lines)]


def _sentence(setting: str, found: Interval, told: Unit) -> str:
    low, high = found.ends
    numbers = told.called(told.difference(found))
    if found.low is None:
        said = f"from one seed, so that nothing is shown, {numbers}"
    elif low > 0:
        said = f"clearly higher than under GLUE, by {numbers}"
    elif high < 0:
        said = f"clearly lower than under GLUE, by {numbers}"
    else:
        said = f"not shown to be another than under GLUE, {numbers}"
    return f"- With {setting} FourierFT minus LoRA is {said}."


def _compared(task: str, known: Mapping[Pair, Interval]) -> list[Block]:
    if not known:
        return [f"{called(task)}: no two of them share a seed yet, or the gold scores are missing."]
    rows = [[*pair, unit(task).difference(each)] for pair, each in known.items()]
    said = [against_zero(*pair, each, unit(task)) for pair, each in known.items()]
    return [Table((axis(task), "minus", "difference"), rows), "\n".join(said)]


def _lacks(task: str, every: Sequence[_Arm]) -> list[str]:
    found = [sweep(arm.group, arm.name) for arm in every if arm.setting != _GLUE]
    return lacks(found, f"{called(task)}, what may be missing:")


def _served(size: str, arms: Mapping[str, list[_Arm]]) -> list[Block]:
    """Each adapter's answers in ONNX Runtime; GLUE's own stand there."""
    found = [arm for each in arms.values() for arm in each if arm.setting != _GLUE]
    return served.named_blocks(size, [(arm.name, arm.group) for arm in found])


SECTION = Section(
    "further",
    "More layers, more epochs",
    "Does FourierFT come nearer to LoRA than under GLUE where more layers are adapted, or where "
    "both train longer?",
    _rendered,
    _aims,
)
