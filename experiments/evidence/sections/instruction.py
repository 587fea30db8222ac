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
from experiments.evidence.clocks import Clock, clock, peak_bytes, step_seconds
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, count, memory, seconds, size
from experiments.evidence.sections.generation import loss_line
from experiments.evidence.spoken import called, name_of
from experiments.evidence.sweeps import Sweep, parted, unfinished
from experiments.records import Record
from experiments.settings import table
from experiments.trial import Json, merged

_TEXT = """\
The recipe of LLaMA-2-7B (n = 1000, alpha = 300, query and value of all layers, a 4-bit base) is
complete at the size `paper`, for whoever has the weights, a GPU and a file of instructions. Quality
is left out: the paper has GPT-4 judge MT-Bench and Vicuna. Rates are the recipe's and were not
chosen, so the losses are no comparison of methods: they only must fall. A step is a mean over
all steps; no ratio of steps is given, as one run has no spread. The held-out loss is the lowest
after an epoch, in float32 but for the 4-bit weights; beside it that of the same adapter merged into
the float32 base, which is what is converted and served."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("instruction")
    learning = _learning(records)
    told = clock(records)
    return [
        _TEXT,
        *(_run(found) for found in learning[:1]),
        f"{told.said} Beside it what was there before the first step.",
        *unfinished(_planned(evidence.size), _sweeps(records)),
        _costs(records, told),
        *_ratios(records),
        *_curves(evidence.size, learning),
        *spoken.blocks(learning),
        *_aims(evidence),
    ]


def _learning(records: Sequence[Record]) -> list[Record]:
    """Returns the trials whose loss means something: not those of random weights."""
    return [found for found in records if not found.trial["model"].startswith("random")]


def _sweeps(records: Sequence[Record]) -> list[Sweep]:
    names = dict.fromkeys(map(name_of, records))
    return [parted(name, [r for r in records if name_of(r) == name], "file_bytes")
            for name in names]  # fmt: skip


def _planned(size_name: str) -> dict[str, Sequence[int]]:
    """Returns what is trained, by configs/instruction.toml, and the seeds of each."""
    given = table("instruction", size_name)
    alone = given.get("cost_alone", {})
    every = [given, *([merged(given, alone)] if alone else [])]
    return {name: each["seeds"] for each in every for name in _names(each)}


def _names(given: Json) -> list[str]:
    methods = [{"kind": "fourier", "n": given["n"]}]
    methods += [{"kind": "lora", "rank": rank} for rank in given["ranks"]]
    return [called(method, bits, given["model"]) for bits in given["bits"] for method in methods]


def _aims(evidence: Evidence) -> list[Aim]:
    """The loss falls in every run that learns, and FourierFT's models are served."""
    given, learning = table("instruction", evidence.size), _learning(evidence.of("instruction"))
    seeds = len(given["seeds"])
    return [
        _falls(learning, len(_names(given)) * seeds),
        spoken.aim(learning, len(given["bits"]) * seeds),
    ]


def _run(found: Record) -> str:
    trial, result = found.trial, found.result
    of = "rows made from E2E's" if trial["source"] == "e2e" else "rows of the file that was given"
    name, _, layers = trial["model"].partition(":")
    cut = f" ({name}'s first {layers} layers alone, which say nothing sensible)" if layers else ""
    return (
        f"Run here: {trial['model']}{cut}, {count(result['learned_answers'])} instructions ({of}), "
        f"{trial['batch']} a step, {trial['epochs']} epochs, products in {trial['precision']}, "
        f"{found.environment['threads']} threads."
    )


def _costs(records: Sequence[Record], told: Clock) -> Table:
    rows = [
        [
            name_of(found),
            count(found.result["parameters"]),
            _of(found, "file_bytes", size),
            seconds(step_seconds([found], told)),
            memory(peak_bytes([found])),
            memory(found.result["before_bytes"]),
            _first(found),
            _last(found),
            "diverged" if "diverged" in found.result else f"{found.result['choose_loss']:.3f}",
            _of(found, "merged_loss", "{:.3f}".format),
        ]
        for found in records
    ]
    header = (
        "method", "parameters", "file", "a step", "peak memory", "before", "first step's loss",
        "last epoch's mean loss", "lowest held-out loss", "the same, merged into float32",
    )  # fmt: skip
    return Table(header, rows)


def _of(found: Record, name: str, written: Callable[[float], str]) -> str:
    return written(found.result[name]) if name in found.result else NONE


def _first(found: Record) -> str:
    losses = found.result["history"][0]["losses"]
    return f"{losses[0]:.3f}" if losses else NONE


def _last(found: Record) -> str:
    loss = found.result["history"][-1]["loss"]
    return NONE if loss is None else f"{loss:.3f}"


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
            parameters, file = (
                ours[0].result[name] / theirs.result[name] for name in ("parameters", "file_bytes")
            )
            peak = peak_bytes(ours[:1]) / peak_bytes([theirs])
            lines.append(
                f"- {name_of(ours[0])} against {name_of(theirs)}: {parameters:.3f} times the "
                f"parameters, {file:.3f} times the file, {peak:.2f} times the peak memory."
            )
    return ["\n".join(lines)] if lines else []


def _base(found: Record) -> tuple[str, int]:
    return found.trial["model"], found.trial["bits"]


def _curves(size_name: str, records: Sequence[Record]) -> list[Block]:
    panels = []
    for bits in sorted({found.trial["bits"] for found in records}, reverse=True):
        colours = iter((LORA, FIFTH))
        lines: list[Line] = []
        for found in records:
            if found.trial["bits"] != bits:
                continue
            fourier = found.trial["method"]["kind"] == "fourier"
            colour = FOURIER if fourier else next(colours, None)
            lines += loss_line(name_of(found), found, colour)
        if lines:
            panels.append(Panel(f"{bits}-bit base", "step", "training loss", lines))
    if not panels:
        return ["No run has a finite training loss, so there is no curve."]
    alt = "Training loss of each method, a mean over steps, on each base."
    return [Figure(f"instruction-{size_name}", alt, panels)]


def _falls(records: Sequence[Record], planned: int) -> Aim:
    """The loss of each: its first step's against the mean of its last epoch."""
    what, aim = "training loss, last epoch against first step", "falls"
    if not records:
        return Aim(what, aim, "none has run", None)
    risen = []
    for found in records:
        history = found.result["history"]
        last = history[-1]["loss"]
        first = history[0]["losses"]
        if last is None or not first or not last < first[0]:
            risen.append(name_of(found))
    text = f"falls in {len(records) - len(risen)} of {planned} runs"
    if risen:
        text += f"; not of {', '.join(risen)}"
    if len(records) < planned:
        text += f"; {planned - len(records)} have not run"
    return Aim(what, aim, text, False if risen else len(records) >= planned or None)


SECTION = Section(
    "instruction",
    "Instruction tuning",
    "What does the paper's recipe of instruction tuning cost in time, memory and bytes beside LoRA "
    "r = 64, the paper's, and r = 8?",
    _rendered,
    _aims,
)
