"""Instruction tuning: what the recipe costs beside LoRA's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.evidence import spoken
from experiments.evidence.blocks import (
    FIFTH,
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
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, count, memory, seconds, size
from experiments.evidence.sections.generation import smoothed
from experiments.evidence.spoken import name_of, step_seconds
from experiments.records import Record

_TEXT = """\
The recipe of LLaMA-2-7B (n = 1000, alpha = 300, query and value of all layers, a 4-bit base) is
complete at the size `paper`, for whoever has the weights, a GPU and a file of instructions. Quality
is left out: the paper has GPT-4 judge MT-Bench and Vicuna. Rates are the recipe's and were not
chosen, so the losses are no comparison of methods: they only must fall. A step is a mean over
all steps, processor seconds of all threads on a CPU and wall time on a GPU; no ratio of steps is
given, as one run has no spread. The loss apart is the lowest after an epoch, in float32 but for the
4-bit weights; beside it that of the same adapter merged into the float32 base, which is what is
converted and served."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("instruction")
    learning = [found for found in records if not found.trial["model"].startswith("random")]
    return [
        f"{_TEXT}\n\n{_run(learning[0])}",
        _costs(records),
        *_ratios(records),
        _curves(evidence.size, learning),
        _falls(learning),
        *spoken.blocks(learning),
    ]


def _run(found: Record) -> str:
    trial, result = found.trial, found.result
    of = "rows made from E2E's" if trial["source"] == "e2e" else "rows of the file that was given"
    where = "the device's" if found.environment["device"] != "cpu" else "the process's"
    return (
        f"Run here: {trial['model']}, {count(result['learned_answers'])} instructions ({of}), "
        f"{trial['batch']} a step, {trial['epochs']} epochs, products in {trial['precision']}, "
        f"{found.environment['threads']} threads. Memory is {where} peak in training; beside it "
        "what was there before the first step."
    )


def _costs(records: Sequence[Record]) -> Table:
    rows = [
        [
            name_of(found),
            count(found.result["parameters"]),
            _of(found, "file_bytes", size),
            seconds(step_seconds([found])),
            memory(found.result["peak_bytes"]),
            memory(found.result["before_bytes"]),
            _first(found),
            "diverged" if "diverged" in found.result else f"{found.result['choose_loss']:.3f}",
            _of(found, "merged_loss", "{:.3f}".format),
        ]
        for found in records
    ]
    header = (
        "method", "parameters", "file", "a step", "peak memory", "before", "first loss",
        "lowest loss apart", "the same, merged into float32",
    )  # fmt: skip
    return Table(header, rows)


def _of(found: Record, name: str, written: Callable[[float], str]) -> str:
    return written(found.result[name]) if name in found.result else NONE


def _first(found: Record) -> str:
    losses = found.result["history"][0]["losses"]
    return f"{losses[0]:.3f}" if losses else NONE


def _ratios(records: Sequence[Record]) -> list[str]:
    """Says of each base what FourierFT costs in LoRA's terms."""
    lines = []
    bases = sorted({_base(found) for found in records}, reverse=True)
    for base in bases:
        alike = [each for each in records if _base(each) == base and "file_bytes" in each.result]
        ours = [found for found in alike if found.trial["method"]["kind"] == "fourier"]
        for theirs in alike:
            if theirs.trial["method"]["kind"] == "fourier" or not ours:
                continue
            ratio = {
                name: ours[0].result[name] / theirs.result[name]
                for name in ("parameters", "file_bytes", "peak_bytes")
            }
            lines.append(
                f"- {name_of(ours[0])} against {name_of(theirs)}: {ratio['parameters']:.3f} times "
                f"the parameters, {ratio['file_bytes']:.3f} times the file, "
                f"{ratio['peak_bytes']:.2f} times the peak memory."
            )
    return ["\n".join(lines)] if lines else []


def _base(found: Record) -> tuple[str, int]:
    return found.trial["model"], found.trial["bits"]


def _curves(size_name: str, records: Sequence[Record]) -> Figure:
    panels = []
    for bits in sorted({found.trial["bits"] for found in records}, reverse=True):
        colours = iter((LORA, FIFTH))
        lines = []
        for found in records:
            if found.trial["bits"] != bits:
                continue
            losses = [loss for epoch in found.result["history"] for loss in epoch["losses"]]
            fourier = found.trial["method"]["kind"] == "fourier"
            colour = FOURIER if fourier else next(colours, None)
            lines.append(Line(name_of(found), *smoothed(losses), colour=colour))
        panels.append(Panel(f"{bits}-bit base", "step", "training loss", lines))
    return Figure(
        f"instruction-{size_name}",
        "Training loss of each method, a mean over steps, on each base.",
        panels,
    )


def _falls(records: Sequence[Record]) -> Aim:
    """The loss of each: its first step's against the mean of its last epoch."""
    risen = []
    for found in records:
        history = found.result["history"]
        last = history[-1]["loss"]
        first = history[0]["losses"]
        if last is None or not first or not last < first[0]:
            risen.append(name_of(found))
    text = f"falls in {len(records) - len(risen)} of {len(records)} runs"
    if risen:
        text += f"; not of {', '.join(risen)}"
    return Aim("training loss, last epoch against first step", "falls", text, not risen)


SECTION = Section(
    "instruction",
    "Instruction tuning",
    "What does the paper's recipe of instruction tuning cost in time, memory and bytes beside LoRA "
    "r = 64, the paper's, and r = 8?",
    _rendered,
)
