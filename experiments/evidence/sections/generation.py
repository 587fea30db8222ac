"""E2E: what FourierFT and LoRA teach a decoder to say, and what it says untaught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.evidence import paper, spoken
from experiments.evidence.blocks import (
    FOURIER,
    LORA,
    Block,
    Figure,
    Line,
    Panel,
    Section,
    Table,
)
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero, among_many
from experiments.evidence.formatting import (
    NONE,
    Unit,
    count,
    listed,
    memory,
    seconds,
    size,
)
from experiments.evidence.sections.generation_limits import limits, unfinished
from experiments.evidence.spoken import name_of, step_seconds
from experiments.fixed import WARM_UP
from experiments.generation.bootstrap import differences
from experiments.records import Record
from experiments.statistics import Interval, mean_interval
from experiments.trial import Json

_METRICS = {
    "bleu": Unit("BLEU", "", "", 1.0, 1),
    "nist": Unit("NIST", "", "", 1.0, 2),
    "rouge_l": Unit("ROUGE-L", "times 100", "", 100.0, 1),
}
_LOSS = Unit("loss", "", "", 1.0, 3)
_WANTED = (("fourier", "lora"), ("fourier", "untuned"), ("lora", "untuned"))
_COLOURS = {"fourier": FOURIER, "lora": LORA}
_SCORES = """\
BLEU is sacrebleu's, NIST nltk's, ROUGE-L the mean F-measure of rouge-score against each meaning's
best reference, times 100; all of text in lower case, against all references of a meaning. METEOR
and CIDEr are left out. Answers are greedy (the paper searches beams). Intervals of differences are
a bootstrap over meanings (2,000 resamples) with the error of the mean over seeds added; both sides
have the same seeds, but the untuned model, which has none. One seed gives no interval. Every
interval is given the rate: a rate is chosen by one seed on the choosing split, and how else that
choice might have fallen is in no interval. Where an interval holds 0, no difference is shown; that
is no equality, and none up to its ends is ruled out."""
_COSTS = """\
A step is a mean over all steps of all seeds: processor seconds on a CPU, where runs share cores,
and wall time on a GPU."""
_FORMULAS = """\
NIST and ROUGE-L are other formulas than those of E2E's own script, which the paper uses, and are
not comparable with its figures: nltk's NIST takes for each length of n-gram the best single
reference, mteval all of them; E2E's ROUGE-L has beta = 1.2, rouge-score's is F1."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("generation")
    reporting = [found for found in records if "report" in found.result]
    taught = [found for found in reporting if found.trial["method"] is not None]
    missing = unfinished(evidence.size, records)
    if not taught:
        return ["No fresh seed has reported yet.", *missing, limits(records)]
    groups = _groups(reporting)
    blocks: list[Block] = [_protocol(records, taught), _SCORES, *missing, _scores(groups)]
    blocks += [_COSTS, _costs(groups), _rates(records), limits(records)]
    blocks += [_curves(evidence.size, taught), *_differences(groups), *spoken.blocks(reporting)]
    said = "The paper's own figures, quoted, not measured here:"
    return [*blocks, said, paper.e2e_table(), _FORMULAS]


def _groups(reporting: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the runs of each method, by name; the untuned model first."""
    found: dict[str, list[Record]] = {}
    for run in sorted(reporting, key=lambda run: run.trial["method"] is not None):
        found.setdefault(name_of(run), []).append(run)
    return found


def _protocol(records: Sequence[Record], taught: Sequence[Record]) -> str:
    trial, result = taught[0].trial, taught[0].result
    seeds = sorted({run.trial["seed"] for run in taught})
    chosen = {run.trial["seed"] for run in records if not run.trial["report"]}
    layers = trial["trained_layers"]
    part = f"the last {layers} layers" if layers else "all layers"
    below = " (what the layers below give was computed once)" if layers else ""
    if trial["trained_on"] == "devset":
        split = (
            "E2E's train split is not to be had here: "
            f"{count(result['meanings'])} meanings of devset train, a tenth of its meanings "
            f"({count(result['choosing'])}) chooses, testset reports. This is not the paper's "
            "protocol."
        )
    else:
        split = "trainset trains, devset chooses, testset reports."
    report = result["report"]
    answers = (
        f"{count(len(report['ids']))} of the test split's {count(report['test_meanings'])} "
        "meanings are answered"
    )
    adapted = (
        f"{trial['model']}: query and value of {part} are adapted{below}; "
        f"{count(result['learned_answers'])} references, {trial['epochs']} epochs, the epoch with "
        "the lowest loss on the choosing split is taken, for every method."
    )
    parity = (
        "Parity: the same number of rates for each method, each once, seed "
        f"{listed([str(seed) for seed in sorted(chosen)])}; the one with the lowest loss on the "
        f"choosing split is taken. Then seeds {listed([str(seed) for seed in seeds])} report. n, "
        "alpha and the rank were fixed beforehand."
    )
    limit = f"{answers}, with at most {trial['limit']} tokens each."
    lines = (split, adapted, _training(trial), parity, limit)
    return "\n".join(f"- {line}" for line in lines)


def _training(trial: Json) -> str:
    each, together = trial["references"], trial["together"]
    rows = "all references" if each is None else f"{each} references"
    return (
        f"Training: {rows} of a meaning, {together} a row, {trial['batch']} rows a step; AdamW, "
        f"weight decay {trial['decay']:g}, the rate rises over the first {100 * WARM_UP:g} % of "
        f"steps and falls to 0, products in {trial['precision']}, labels smoothed by "
        f"{trial['smoothing']:g}. The loss that chooses is taken in float32, without smoothing."
    )


def _scores(groups: dict[str, list[Record]]) -> Table:
    rows = []
    for name, runs in groups.items():
        values = [
            unit.interval(mean_interval([run.result["report"][metric] for run in runs]))
            for metric, unit in _METRICS.items()
        ]
        loss = _LOSS.interval(mean_interval([run.result["report"]["loss"] for run in runs]))
        ended = sum(run.result["report"]["ended"] for run in runs)
        total = sum(len(run.result["report"]["ids"]) for run in runs)
        tokens = np.mean([run.result["report"]["of_each"]["tokens"] for run in runs])
        seeds = NONE if _kind(runs[0]) == "untuned" else str(len(runs))
        rows.append(
            [name, seeds, *values, loss, f"{tokens:.1f}", f"{count(ended)} of {count(total)}"]
        )
    names = [unit.metric for unit in _METRICS.values()]
    return Table(("method", "seeds", *names, "loss on test", "tokens", "answers that end"), rows)


def _costs(groups: dict[str, list[Record]]) -> Table:
    rows = []
    for name, runs in groups.items():
        first = runs[0].result
        if "history" not in first:
            continue
        rows.append(
            [
                name, f"{runs[0].trial['rate']:g}", count(first["parameters"]),
                size(first["file_bytes"]), seconds(step_seconds(runs)),
                memory(max(run.result["peak_bytes"] for run in runs)),
                listed([str(run.result["epoch"]) for run in runs]),
            ]
        )  # fmt: skip
    return Table(
        ("method", "rate", "parameters", "file", "a step", "peak memory", "best epoch"), rows
    )


def _tried(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the runs that chose, of each method by rate."""
    found: dict[str, list[Record]] = {}
    for run in records:
        if not run.trial["report"]:
            found.setdefault(name_of(run), []).append(run)
    return {name: sorted(runs, key=lambda run: run.trial["rate"]) for name, runs in found.items()}


def _rates(records: Sequence[Record]) -> Table:
    tried = _tried(records)
    most = max(map(len, tried.values()))
    rows = []
    for name, runs in tried.items():
        cells = [f"{run.trial['rate']:g}: {_choosing(run)}" for run in runs]
        rows.append([name, *cells, *[NONE] * (most - len(cells))])
    return Table(("rates that were tried", *("rate: loss on the choosing split",) * most), rows)


def _choosing(run: Record) -> str:
    """Returns the loss on the choosing split, or when training diverged."""
    text = _LOSS.value(run.result["choose_loss"])
    diverged = run.result.get("diverged")
    if diverged is None:
        return text
    return f"diverged in epoch {diverged}" + (f", {text} before" if diverged > 1 else "")


def _curves(size_name: str, taught: Sequence[Record]) -> Figure:
    lines, seen = [], set()
    for run in taught:
        name = name_of(run)
        if name in seen:
            continue
        seen.add(name)
        losses = [loss for epoch in run.result["history"] for loss in epoch["losses"]]
        x, y = smoothed(losses)
        lines.append(Line(name, x, y, colour=_COLOURS[run.trial["method"]["kind"]]))
    return Figure(
        f"generation-{size_name}",
        "Training loss of each method's first reporting seed, a mean over steps.",
        (Panel("", "step", "training loss", lines),),
    )


def smoothed(losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Returns places and means of about 40 equal parts of a curve."""
    parts = np.array_split(np.arange(len(losses)), min(40, len(losses)))
    found = np.asarray(losses)
    return [float(part.mean() + 1) for part in parts], [float(found[part].mean()) for part in parts]


def _differences(groups: dict[str, list[Record]]) -> list[Block]:
    of_seeds = {_kind(runs[0]): _by_seed(runs) for runs in groups.values()}
    names = {_kind(runs[0]): name for name, runs in groups.items()}
    rows, said = [], []
    intervals: list[Interval] = []
    for ours, theirs in _WANTED:
        if not of_seeds.keys() >= {ours, theirs}:
            continue
        other = of_seeds[theirs]
        if theirs == "untuned":  # it has no seeds: the same stands beside each of ours
            other = dict.fromkeys(of_seeds[ours], next(iter(other.values())))
        found = differences(of_seeds[ours], other)
        shared = sorted(of_seeds[ours].keys() & other.keys())
        if not found:
            continue
        cells = [_METRICS[metric].difference(interval) for metric, interval in found.items()]
        intervals += found.values()
        name = f"{names[ours]} minus {names[theirs]}"
        rows.append([name, listed([str(seed) for seed in shared]), *cells])
        said += [
            against_zero(f"{unit.metric} of {names[ours]}", names[theirs], found[metric], unit)
            for metric, unit in ((metric, _METRICS[metric]) for metric in found)
        ]
    table = Table(("difference", "seeds", "BLEU", "ROUGE-L"), rows)
    if not rows:
        return []
    known = [each for each in intervals if each.low is not None]
    return [table, "\n".join(said), *([among_many(known)] if known else [])]


def _kind(run: Record) -> str:
    return "untuned" if run.trial["method"] is None else str(run.trial["method"]["kind"])


def _by_seed(runs: Sequence[Record]) -> dict[int, Json]:
    return {run.trial["seed"]: run.result["report"] for run in runs}


SECTION = Section(
    "generation",
    "Generation",
    "Does a decoder that FourierFT taught to describe restaurants (E2E) do so as well as one that "
    "LoRA taught, and does the converted model say the same, token for token?",
    _rendered,
)
