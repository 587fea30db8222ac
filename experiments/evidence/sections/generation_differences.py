"""E2E: one method minus another, of every score and of the loss, and what limits the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from experiments.evidence.blocks import Block, Table
from experiments.evidence.findings import against_zero, among_many
from experiments.evidence.formatting import Unit, listed
from experiments.evidence.sweeps import Sweep, ends
from experiments.generation.bootstrap import RESAMPLES, differences
from experiments.records import Record
from experiments.statistics import Interval, mean_interval
from experiments.trial import Json

METRICS = {
    "bleu": Unit("BLEU", "", "", 1.0, 1, (0, 100)),
    "nist": Unit("NIST", "", "", 1.0, 2, (0, math.inf)),
    "rouge_l": Unit("ROUGE-L", "times 100", "", 100.0, 1, (0, 1)),
}
LOSS = Unit("loss", "", "", 1.0, 3, (0, math.inf))
_UNITS = {**METRICS, "loss": LOSS}
_WANTED = (("fourier", "lora"), ("fourier", "untuned"), ("lora", "untuned"))
_TEXT = f"""\
Both sides of a difference have the same seeds, but the untuned model, which has none. Intervals of
BLEU and ROUGE-L are a bootstrap over meanings ({RESAMPLES:,} resamples) with the error of the mean
over seeds added; those of NIST and of the loss are Student's over seeds alone. Of the loss lower is
better. Where an interval holds 0, no difference is shown; that is no equality, and none up to its
ends is ruled out."""


def differing(groups: Mapping[str, Sequence[Record]], sweeps: Sequence[Sweep]) -> list[Block]:
    """Returns the differences, each with its sentence, and what else may decide them.

    Args:
        groups: A method's name -> its reporting runs.
        sweeps: What was tried of each.
    """
    of_seeds = {kind_of(runs[0]): _by_seed(runs) for runs in groups.values()}
    names = {kind_of(runs[0]): name for name, runs in groups.items()}
    rows, said = [], []
    of_lora: list[Interval] = []
    for ours, theirs in _WANTED:
        if not of_seeds.keys() >= {ours, theirs}:
            continue
        other = of_seeds[theirs]
        if theirs == "untuned":  # it has no seeds: the same stands beside each of ours
            other = dict.fromkeys(of_seeds[ours], next(iter(other.values())))
        shared = sorted(of_seeds[ours].keys() & other.keys())
        if not shared:
            continue
        found = _found(of_seeds[ours], other, shared)
        cells = [_UNITS[metric].difference(interval) for metric, interval in found.items()]
        name = f"{names[ours]} minus {names[theirs]}"
        rows.append([name, listed([str(seed) for seed in shared]), *cells])
        said += [_sentence(metric, names[ours], names[theirs], found[metric]) for metric in found]
        if theirs == "lora":
            of_lora += [_better(metric, interval) for metric, interval in found.items()]
    if not rows:
        return []
    header = ("difference", "seeds", *(unit.metric for unit in _UNITS.values()))
    many = among_many(of_lora, "FourierFT minus LoRA (of the loss with its sign turned)")
    return [_TEXT, Table(header, rows), "\n".join(said), *many, *_edges(sweeps)]


def kind_of(run: Record) -> str:
    """Returns the kind of method, or "untuned"."""
    return "untuned" if run.trial["method"] is None else str(run.trial["method"]["kind"])


def _found(
    ours: Mapping[int, Json], theirs: Mapping[int, Json], shared: Sequence[int]
) -> dict[str, Interval]:
    """Returns each of _UNITS's differences, in their order."""
    of_meanings = differences(ours, theirs)
    alone = {
        name: mean_interval([ours[seed][name] - theirs[seed][name] for seed in shared])
        for name in ("nist", "loss")
    }
    both = of_meanings | alone
    return {name: both[name] for name in _UNITS}


def _sentence(metric: str, ours: str, theirs: str, found: Interval) -> str:
    name = "loss (lower is better)" if metric == "loss" else _UNITS[metric].metric
    return against_zero(f"{name} of {ours}", theirs, found, _UNITS[metric])


def _better(metric: str, found: Interval) -> Interval:
    """Returns a difference of which more is better."""
    if metric != "loss":
        return found
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return Interval(-found.mean, low, high)


def _edges(sweeps: Sequence[Sweep]) -> list[str]:
    """Says under the differences where a method may not have had its best rate."""
    at = [f"{sweep.name}'s the {word}" for sweep in sweeps for word in ends(sweep)]
    if not at:
        return []
    text = (
        f"Of the rates that were tried the best was at an end, {listed(at)}: better ones may lie "
        "beyond, and change these differences."
    )
    return [text]


def _by_seed(runs: Sequence[Record]) -> dict[int, Json]:
    return {run.trial["seed"]: run.result["report"] for run in runs}
