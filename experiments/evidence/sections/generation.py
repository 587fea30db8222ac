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
from experiments.evidence.findings import against_zero
from experiments.evidence.formatting import (
    NONE,
    Unit,
    count,
    listed,
    memory,
    seconds,
    size,
)
from experiments.evidence.spoken import name_of
from experiments.generation.bootstrap import differences
from experiments.records import Record
from experiments.statistics import mean_interval
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
have the same seeds, but the untuned model, which has none. One seed gives no interval."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("generation")
    reporting = [found for found in records if "torch" in found.result]
    taught = [found for found in reporting if found.trial["method"] is not None]
    if not taught:
        return ["Rates have been tried, and no fresh seed has reported yet."]
    groups = _groups(reporting)
    blocks: list[Block] = [_protocol(records, taught), _SCORES, _scores(groups), _costs(groups)]
    blocks += [_rates(records), *_edges(records), _curves(evidence.size, taught)]
    blocks += [*_differences(groups), *spoken.blocks(reporting)]
    return [*blocks, "The paper's own figures, quoted, not measured here:", paper.e2e_table()]


def _groups(reporting: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the runs of each method, by name; the untuned model first."""
    found: dict[str, list[Record]] = {}
    for run in sorted(reporting, key=lambda run: run.trial["method"] is not None):
        found.setdefault(name_of(run), []).append(run)
    return found


def _protocol(records: Sequence[Record], taught: Sequence[Record]) -> str:
    trial, result = taught[0].trial, taught[0].result
    seeds = sorted({run.trial["seed"] for run in taught})
    chosen = {run.trial["seed"] for run in records if "torch" not in run.result}
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
    answers = f"{count(len(result['ids']))} of the test split's 630 meanings are answered"
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
    return "\n".join(f"- {line}" for line in (split, adapted, parity, limit))


def _scores(groups: dict[str, list[Record]]) -> Table:
    rows = []
    for name, runs in groups.items():
        values = [
            unit.interval(mean_interval([run.result["torch"][metric] for run in runs]))
            for metric, unit in _METRICS.items()
        ]
        loss = _LOSS.interval(mean_interval([run.result["test_loss"] for run in runs]))
        ended = sum(run.result["torch"]["ended"] for run in runs)
        total = sum(len(run.result["ids"]) for run in runs)
        tokens = np.mean([run.result["torch"]["of_each"]["tokens"] for run in runs])
        rows.append([name, *values, loss, f"{tokens:.1f}", f"{count(ended)} of {count(total)}"])
    names = [unit.metric for unit in _METRICS.values()]
    return Table(("method", *names, "loss on test", "tokens", "answers that end"), rows)


def _costs(groups: dict[str, list[Record]]) -> Table:
    rows = []
    for name, runs in groups.items():
        first = runs[0].result
        if "history" not in first:
            continue
        steps = [epoch["step_seconds"] for run in runs for epoch in run.result["history"]]
        rows.append(
            [
                name, f"{runs[0].trial['rate']:g}", count(first["parameters"]),
                size(first["file_bytes"]), seconds(float(np.median(steps))),
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
        if "torch" not in run.result:
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


def _edges(records: Sequence[Record]) -> list[str]:
    """Says where a better rate may lie beyond those that were tried."""
    lines = []
    for name, runs in _tried(records).items():
        best = min(runs, key=lambda run: float(run.result["choose_loss"]))
        for word, end in (("lowest", runs[0]), ("highest", runs[-1])):
            if best is end:
                lines.append(f"- {name}: the {word} rate is chosen; a better one may lie beyond.")
    return ["\n".join(lines)] if lines else []


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
        name = f"{names[ours]} minus {names[theirs]}"
        rows.append([name, listed([str(seed) for seed in shared]), *cells])
        said += [
            against_zero(f"{unit.metric} of {names[ours]}", names[theirs], found[metric], unit)
            for metric, unit in ((metric, _METRICS[metric]) for metric in found)
        ]
    table = Table(("difference", "seeds", "BLEU", "ROUGE-L"), rows)
    return [table, "\n".join(said)] if rows else []


def _kind(run: Record) -> str:
    return "untuned" if run.trial["method"] is None else str(run.trial["method"]["kind"])


def _by_seed(runs: Sequence[Record]) -> dict[int, Json]:
    return {run.trial["seed"]: run.result["torch"] for run in runs}


SECTION = Section(
    "generation",
    "Generation",
    "Does a decoder that FourierFT taught to describe restaurants (E2E) do so as well as one that "
    "LoRA taught, and does the converted model say the same, token for token?",
    _rendered,
)
