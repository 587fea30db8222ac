"""What a reader comes for: FourierFT or LoRA, in a table, by a rule."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost.points import find, of, ratios
from experiments.evidence.blocks import Block, Table
from experiments.evidence.clocks import clock, peak_bytes
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, listed, significant
from experiments.evidence.headline import KINDS, Headline, Verdict, headlines
from experiments.evidence.sections.cost_comparing import RANK, usual
from experiments.evidence.trainings import Group, called, metric, unit

TITLE = "FourierFT or LoRA?"
_TABLE = """\
Means over seeds on the split that reports. The answer is a rule on the 95 % interval of the
difference."""
_RATIOS = """\
FourierFT's over LoRA's, from the least to the most of what was measured; below 1 FourierFT needs
less. Serving is of adapters that are not merged:"""
_SMALL = "FourierFT is the smaller: {parameters} of LoRA's trained numbers, {file} of its file."
_SERVED = {
    "one": "one adapter for all rows",
    "rows": "an adapter a row",
}
"""Forms of the cost section -> what they are called."""


def blocks(evidence: Sequence[Evidence]) -> list[Block]:
    """Returns the section: of each size at which anything has run."""
    found: list[Block] = [f"## {TITLE}"]
    ran = [each for each in evidence if each.files]
    if not ran:
        return [*found, "Nothing has been run."]
    for each in ran:
        of_tasks = headlines(each)
        pairs = [_pair(task) for task in of_tasks]
        costs = _costs([pair for pair in pairs if pair is not None])
        found += [f"### FourierFT or LoRA: {each.size}", _TABLE, _answers(of_tasks), _RATIOS]
        found += [_ratios(costs, each), *_said(of_tasks, costs, pairs)]
    return found


def _answers(found: Sequence[Headline]) -> Table:
    names = found[0].names
    rows = []
    for task in found:
        told = unit(task.task)
        means = [
            told.value(task.groups[kind].mean(metric(task.task)).mean)
            if kind in task.groups and task.groups[kind].runs
            else NONE
            for kind in KINDS
        ]
        difference = NONE if task.ours is None else task.ours.written
        scale = f" ({told.scale})" if told.scale else ""
        name = f"{called(task.task)}, {told.metric}{scale}"
        rows.append([name, *means, difference, _seeds(task), task.answer()])
    header = (
        "task", *(names[kind] for kind in KINDS), "FourierFT minus LoRA, 95 %", "seeds", "answer",
    )  # fmt: skip
    return Table(header, rows)


def _seeds(task: Headline) -> str:
    """Returns of how many seeds the means are: "5 of 5", or each method's."""
    reported = [len(task.groups[k].runs) if k in task.groups else 0 for k in KINDS]
    each = str(reported[0]) if len(set(reported)) == 1 else ", ".join(map(str, reported))
    return f"{each} of {len(task.seeds)}"


def _pair(task: Headline) -> tuple[Group, Group] | None:
    """Returns FourierFT and LoRA, where both have reported."""
    both = [task.groups[kind] for kind in ("fourier", "lora") if kind in task.groups]
    if len(both) < 2 or not all(group.runs for group in both):
        return None
    return both[0], both[1]


def _costs(pairs: Sequence[tuple[Group, Group]]) -> dict[str, list[float]]:
    """Returns a quantity -> FourierFT's over LoRA's on each task."""
    told = clock(run for pair in pairs for group in pair for run in group.runs)
    return {
        "trained numbers beside the head": [a.parameters / b.parameters for a, b in pairs],
        "bytes of the file, with the head": [
            a.average("file_bytes") / b.average("file_bytes") for a, b in pairs
        ],
        f"training, {told.header}": [a.seconds(told) / b.seconds(told) for a, b in pairs],
        "peak memory of training": [peak_bytes(a.runs) / peak_bytes(b.runs) for a, b in pairs],
    }


def _ratios(costs: dict[str, list[float]], evidence: Evidence) -> Table:
    rows = [[name, _span(values)] for name, values in costs.items()]
    rows += [_serving(evidence, form) for form in _SERVED]
    return Table(("FourierFT over LoRA", "ratio"), rows)


def _serving(evidence: Evidence, form: str) -> list[str]:
    """Returns the row of serving: the medians of all widths and batches."""
    name = f"serving, live graph, {_SERVED[form]}"
    served = of(evidence.of("cost"), "ServeTrial")
    if not served or RANK not in served[0].trial["ranks"]:
        return [name, NONE]
    n = usual(served)
    values = []
    for record in served:
        forms = record.result["forms"]
        if any(each["adapters"] == form for each in forms if each["kind"] == "live"):
            ours = find(forms, kind="live", size=n, adapters=form)
            values.append(ratios(ours, find(forms, kind="lora", size=RANK, adapters=form)).median)
    return [f"{name} (one layer pair, n = {n}, r = {RANK})", _span(values)]


def _span(values: Sequence[float]) -> str:
    """Returns the least and the most; one number where they look alike."""
    written = {f"{v:.2f}" if v >= 0.1 else significant(v, 2) for v in values}
    ends = sorted(written, key=float)
    return " to ".join([ends[0], ends[-1]] if len(ends) > 1 else ends) or NONE


def _said(
    found: Sequence[Headline],
    costs: dict[str, list[float]],
    pairs: Sequence[tuple[Group, Group] | None],
) -> list[str]:
    """Returns at most three sentences, each where the numbers support it."""
    sentences = [*_quality(found), *_size(costs), *_time(pairs)]
    return [" ".join(sentences)] if sentences else []


def _quality(found: Sequence[Headline]) -> list[str]:
    """On which tasks it is as good, once each has an answer."""
    if any(task.verdict is None for task in found):
        return []
    said = []
    for verdict in Verdict:
        tasks = [called(task.task) for task in found if task.verdict is verdict]
        said += [f"{verdict.value} on {listed(tasks)}"] if tasks else []
    return [f"FourierFT is {'; '.join(said)}."]


def _size(costs: dict[str, list[float]]) -> list[str]:
    parameters, file = list(costs.values())[:2]
    if not parameters or max(*parameters, *file) >= 1:
        return []
    return [_SMALL.format(parameters=_span(parameters), file=_span(file))]


def _time(pairs: Sequence[tuple[Group, Group] | None]) -> list[str]:
    """Whether training takes longer, where each seed of one took longer than any of the other."""
    known = [pair for pair in pairs if pair is not None]
    told = clock(run for pair in known for group in pair for run in group.runs)
    each = [(a.seconds_of_each(told), b.seconds_of_each(told)) for a, b in known]
    if each and all(min(ours) > max(theirs) for ours, theirs in each):
        return ["Its training takes longer, on each task with every seed."]
    if each and all(max(ours) < min(theirs) for ours, theirs in each):
        return ["Its training takes less time, on each task with every seed."]
    return []
