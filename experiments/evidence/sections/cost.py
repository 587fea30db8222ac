"""What FourierFT costs beside LoRA, measured, and the model that explains it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.cost import points
from experiments.cost.experiment import CostSettings
from experiments.cost.model import study
from experiments.cost.points import AUTO, of
from experiments.evidence.blocks import Block, Section
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import listed
from experiments.evidence.sections import (
    cost_conversion,
    cost_files,
    cost_memory,
    cost_model,
    cost_serving,
    cost_steps,
)
from experiments.evidence.sections.cost_comparing import usual
from experiments.records import Record
from experiments.settings import settings
from experiments.trial import key

_MEASURED = {
    "TrainTrial": "forward and backward of a layer",
    "FileTrial": "bytes of files",
    "ConversionTrial": "conversion",
    "ServeTrial": "serving",
}
"""Class of a trial -> what is missing where none has run."""


def blocks(evidence: Evidence) -> list[Block]:
    """Returns the section of one size: of each class of trials, where some have run."""
    records = evidence.of("cost")
    training, files, conversions, served = (of(records, trial) for trial in _MEASURED)
    found: list[Block] = [_setting(records), *_missing(evidence)]
    if training:
        fitted = study(points.training(records), lambda point: point.kind == AUTO)
        found += cost_steps.steps(training, fitted, evidence.size)
        found += cost_model.training(fitted, training, usual(training))
        found += cost_memory.memory(training)
    if files:
        found += cost_files.files(files, evidence.size)
    if conversions:
        found += cost_conversion.conversion(conversions)
    if served:
        found += cost_serving.serving(served)
    return found


def _missing(evidence: Evidence) -> list[str]:
    """Returns which planned points have not run, of each class of trials, as a paragraph."""
    ran = {record.key for record in evidence.of("cost")}
    planned = settings(CostSettings, "cost", evidence.size).trials()
    said = []
    for kind, name in _MEASURED.items():
        own = [trial for trial in planned if type(trial).__name__ == kind]
        waiting = [trial.label for trial in own if key(trial) not in ran]
        if waiting:
            which = "" if len(waiting) == len(own) else f": {', '.join(waiting)}"
            said.append(f"{name} ({len(waiting)} of {len(own)}{which})")
    return [f"Not measured yet at this size: {listed(said)}."] if said else []


def _setting(records: Sequence[Record]) -> str:
    """Says on what it was measured, and where that is not the same for all."""
    timed = [record for record in records if record.trial["trial"] != "FileTrial"]
    machines = _distinct(
        f"{record.environment['device']}, {record.environment['threads']} threads, "
        f"{record.result['processor']}"
        for record in timed
    )
    says = (
        "One linear layer (d, d) without bias, frozen, float32, inside a model, without an "
        "optimizer: forward, and backward to its input. LoRA is PEFT's. All ways of one row are "
        "timed in turn, each round beginning with another; a ratio is the median over the rounds' "
        "(least to most)."
    )
    if not timed:
        return says
    rounds = _distinct(str(record.trial["rounds"]) for record in timed)
    load = [value for record in timed for value in record.result["load"]]
    says += (
        f" Rounds: {listed(rounds)}. Measured on: {'; '.join(machines)}. Load average while it was "
        f"measured: {min(load):.1f} to {max(load):.1f}."
    )
    if len(machines) > 1:
        says += (
            " These differ, so rows must not be compared, and a model of all of them means little."
        )
    return says


def _distinct(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


SECTION = Section(
    "cost",
    "What it costs",
    "How do time and memory of forward and backward, bytes of a file, and time of conversion and "
    "serving grow with width and n, beside LoRA's, and which model explains it? (The paper's open "
    "question 3.)",
    blocks,
)
