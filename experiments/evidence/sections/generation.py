"""E2E: what FourierFT and LoRA teach a decoder to say, and what it says untaught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.evidence import paper, spoken
from experiments.evidence.blocks import (
    FOURIER,
    LORA,
    Aim,
    Block,
    Figure,
    Line,
    Panel,
    Section,
    Table,
)
from experiments.evidence.clocks import clock, peak_bytes, step_seconds
from experiments.evidence.codes import compared
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, count, listed, memory, seconds, size
from experiments.evidence.limits import planned_seeds
from experiments.evidence.sections.generation_differences import (
    LOSS,
    METRICS,
    differing,
    kind_of,
)
from experiments.evidence.spoken import name_of
from experiments.evidence.sweeps import Sweep, lacks, parted, unfinished
from experiments.evidence.trainings import method_name
from experiments.fixed import WARM_UP
from experiments.records import Record
from experiments.settings import table
from experiments.trial import Json

_COLOURS = {"fourier": FOURIER, "lora": LORA}
_SCORES = """\
BLEU is sacrebleu's, NIST nltk's, ROUGE-L the mean F-measure of rouge-score against each meaning's
best reference, times 100; all of text in lower case, against all references of a meaning. METEOR
and CIDEr are left out. Answers are greedy (the paper searches beams). Intervals of means are
Student's over seeds. Every interval is given the rate: a rate is chosen by one seed on the choosing
split, and how else that choice might have fallen is in no interval. One seed gives no interval."""
_COSTS = "A step is a mean over all steps of all seeds."
_FORMULAS = """\
NIST and ROUGE-L are other formulas than those of E2E's own script, which the paper uses, and are
not comparable with its figures: nltk's NIST takes for each length of n-gram the best single
reference, mteval all of them; E2E's ROUGE-L has beta = 1.2, rouge-score's is F1."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("generation")
    reporting = [found for found in records if "report" in found.result]
    taught = [found for found in reporting if found.trial["method"] is not None]
    sweeps = [parted(name, runs) for name, runs in _groups(records).items()]
    missing = unfinished(_planned(evidence.size), sweeps)
    limits = lacks([each for each in sweeps if each.name != "untuned"], "What may be missing:")
    if not taught:
        return ["No fresh seed has reported yet.", *missing, *limits, *_aims(evidence)]
    groups = _groups(reporting)
    blocks: list[Block] = [_protocol(records, taught), _SCORES, *missing, _scores(groups)]
    blocks += [*_costs(groups), *_rates(sweeps), *limits]
    blocks += [
        *_curves(evidence.size, taught),
        *differing(groups, sweeps),
        *spoken.blocks(reporting),
    ]
    said = "The paper's own figures, quoted, not measured here:"
    return [*blocks, *_aims(evidence), said, paper.e2e_table(), _FORMULAS]


def _planned(size_name: str) -> dict[str, Sequence[int]]:
    """Returns what is compared, by configs/generation.toml, and the seeds of each."""
    planned = table("generation", size_name)
    methods = {"kind": "fourier", "n": planned["n"]}, {"kind": "lora", "rank": planned["rank"]}
    seeds = planned_seeds("generation", size_name)
    return {"untuned": [0], **{method_name(method): seeds for method in methods}}


def _aims(evidence: Evidence) -> list[Aim]:
    """The untuned model is served, and each seed of FourierFT."""
    count = 1 + len(planned_seeds("generation", evidence.size))
    return [spoken.aim(evidence.of("generation"), count)]


def _groups(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the runs of each method, by name; the untuned model first."""
    found: dict[str, list[Record]] = {}
    for run in sorted(records, key=lambda run: run.trial["method"] is not None):
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
            "E2E's train split is not to be had here, so its devset is split by meanings: "
            f"{count(result['meanings'])} train, a tenth ({count(result['choosing'])}) choose; "
            "its testset reports. This is not the paper's protocol."
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
    named = [each for each in _groups(records).items() if each[0] != "untuned"]
    lines = (split, adapted, _training(trial), parity, limit, *compared(named))
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
            unit.interval(unit.mean([run.result["report"][metric] for run in runs]))
            for metric, unit in METRICS.items()
        ]
        loss = LOSS.interval(LOSS.mean([run.result["report"]["loss"] for run in runs]))
        ended = sum(run.result["report"]["ended"] for run in runs)
        total = sum(len(run.result["report"]["ids"]) for run in runs)
        tokens = np.mean([run.result["report"]["of_each"]["tokens"] for run in runs])
        seeds = NONE if kind_of(runs[0]) == "untuned" else str(len(runs))
        rows.append(
            [name, seeds, *values, loss, f"{tokens:.1f}", f"{count(ended)} of {count(total)}"]
        )
    names = [unit.metric for unit in METRICS.values()]
    return Table(("method", "seeds", *names, "loss on test", "tokens", "answers that end"), rows)


def _costs(groups: dict[str, list[Record]]) -> list[Block]:
    told = clock(run for runs in groups.values() for run in runs)
    rows = []
    for name, runs in groups.items():
        first = runs[0].result
        if "history" not in first:
            continue
        rows.append(
            [
                name, f"{runs[0].trial['rate']:g}", count(first["parameters"]),
                size(first["file_bytes"]), seconds(step_seconds(runs, told)),
                memory(peak_bytes(runs)),
                listed([str(run.result["epoch"]) for run in runs]),
            ]
        )  # fmt: skip
    header = ("method", "rate", "parameters", "file", "a step", "peak memory", "best epoch")
    return [f"{_COSTS} {told.said}", Table(header, rows)]


def _rates(sweeps: Sequence[Sweep]) -> list[Block]:
    most = max(len(each.tried) for each in sweeps)
    rows = []
    for each in sweeps:
        cells = [f"{run.trial['rate']:g}: {_choosing(run)}" for run in each.tried]
        if cells:
            rows.append([each.name, *cells, *[NONE] * (most - len(cells))])
    header = ("rates that were tried", *("rate: loss on the choosing split",) * most)
    return [Table(header, rows)] if rows else []


def _choosing(run: Record) -> str:
    """Returns the loss on the choosing split, or when training diverged."""
    text = LOSS.value(run.result["choose_loss"])
    diverged = run.result.get("diverged")
    if diverged is None:
        return text
    return f"diverged in epoch {diverged}" + (f", {text} before" if diverged > 1 else "")


def _curves(size_name: str, taught: Sequence[Record]) -> list[Block]:
    lines, seen = [], set()
    for run in taught:
        name = name_of(run)
        if name in seen:
            continue
        seen.add(name)
        colour = _COLOURS[run.trial["method"]["kind"]]
        lines += loss_line(name, run, colour)
    if not lines:
        return ["No training loss was finite, so there is no curve."]
    alt = "Training loss of each method's first reporting seed, a mean over steps."
    return [Figure(f"generation-{size_name}", alt, (Panel("", "step", "training loss", lines),))]


def loss_line(name: str, run: Record, colour: int | None) -> list[Line]:
    """Returns a run's training loss; nothing if not even the first one was finite."""
    losses = [loss for epoch in run.result["history"] for loss in epoch["losses"]]
    return [Line(name, *smoothed(losses), colour=colour)] if losses else []


def smoothed(losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Returns places and means of about 40 equal parts of a curve that has some."""
    parts = np.array_split(np.arange(len(losses)), min(40, len(losses)))
    found = np.asarray(losses)
    return [float(part.mean() + 1) for part in parts], [float(found[part].mean()) for part in parts]


SECTION = Section(
    "generation",
    "Generation",
    "Does a decoder that FourierFT taught to describe restaurants (E2E) do so as well as one that "
    "LoRA taught, and does the converted model say the same, token for token?",
    _rendered,
    _aims,
)
