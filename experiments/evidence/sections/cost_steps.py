"""The part of the cost section about time: forward and backward of a layer, and AdamW's step."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost import points, work
from experiments.cost.model import Study, predicted
from experiments.cost.points import AUTO, find, ratios, seconds
from experiments.evidence import formatting
from experiments.evidence.blocks import (
    FOURIER,
    FULL,
    HEAD,
    LORA,
    Block,
    Figure,
    Level,
    Line,
    Panel,
    Points,
    Table,
)  # fmt: skip
from experiments.evidence.sections.cost_comparing import (
    RANK,
    by_size,
    cell,
    columns,
    middle,
    told,
    usual,
)
from experiments.records import Record
from experiments.trial import Json

_DEGREE = 40  # points of a model's line: drawn without markers from 41
_UPDATE = (
    "AdamW's step for the numbers that one layer trains, on its own (it is no part of the times "
    "above; in a model, one call updates all layers):"
)


def steps(records: Sequence[Record], found: Study, size: str) -> list[Block]:
    """Returns the times of all widths and tokens, of n and ranks, and the model's lines."""
    n = usual(records)
    compared = {
        f"{step.trial['width']} with {step.trial['tokens']} tokens": ratios(
            arms_of(step, n)[AUTO], arms_of(step, n)["lora"]
        )
        for step in records
    }
    usual_tokens = middle(tokens_of(records))
    own = [step for step in records if step.trial["tokens"] == usual_tokens]
    return [
        "#### Forward and backward of one adapted layer",
        _times(records, n),
        f"FourierFT n = {n} beside LoRA r = {RANK}. {told(compared)}",
        f"Over the base alone, as n and the rank grow, at {formatting.count(usual_tokens)} tokens:",
        by_size("width", _rows(own), columns(own[0]), _over_base),
        _UPDATE,
        by_size("width", _rows(own), columns(own[0]), _update),
        _figure(records, n, found, size),
    ]


def tokens_of(records: Sequence[Record]) -> list[int]:
    """Returns the tokens of the trials, each once, in order."""
    return sorted({step.trial["tokens"] for step in records})


def arms_of(step: Record, n: int) -> dict[str, Json]:
    """Returns the base, LoRA and FourierFT of n, by path."""
    arms = step.result["arms"]
    found = {"base": find(arms, kind="base"), "lora": find(arms, kind="lora", size=RANK)}
    return found | {
        path: find(arms, kind="fourier", size=n, path=path) for path in (AUTO, *work.THROUGH)
    }


def _rows(records: Sequence[Record]) -> list[tuple[str, Json]]:
    return [(str(step.trial["width"]), step.result) for step in records]


def _times(records: Sequence[Record], n: int) -> Table:
    rows = []
    for step in records:
        arms = arms_of(step, n)
        over = [cell(ratios(arms[kind], arms["base"])) for kind in list(arms)[1:]]
        rows.append(
            [
                str(step.trial["width"]),
                formatting.count(step.trial["tokens"]),
                formatting.seconds(seconds(arms["base"])),
                *over,
                cell(ratios(arms[AUTO], arms["lora"])),
            ]
        )
    ours = f"FourierFT n = {n}"
    header = (
        "width", "tokens", "base", f"LoRA r = {RANK} / base", f"{ours} / base",
        "through the weight", "through activations", "FourierFT / LoRA",
    )  # fmt: skip
    return Table(header, rows)


def _over_base(measured: Json, kind: str, size: int) -> str:
    arms = measured["arms"]
    own = find(arms, kind=kind, size=size, path=AUTO)
    return cell(ratios(own, find(arms, kind="base")))


def _update(measured: Json, kind: str, size: int) -> str:
    own = find(measured["arms"], kind=kind, size=size, path=AUTO)
    return formatting.seconds(seconds(own, "update"))


def _figure(records: Sequence[Record], n: int, found: Study, size: str) -> Figure:
    panels = []
    for tokens in tokens_of(records)[:3]:
        own = [step for step in records if step.trial["tokens"] == tokens]
        widths = points.widths(own)
        line = between(widths[0], widths[-1])
        works = {
            "base": [work.base(width, tokens) for width in line],
            "lora": [work.lora(width, tokens, RANK) for width in line],
            **{
                path: [work.fourier(width, tokens, n, (path,) * 3) for width in line]
                for path in work.THROUGH
            },
        }
        marks: list[Line | Points | Level] = []
        for kind, (name, colour) in _names(n).items():
            measured = [seconds(arms_of(step, n)[kind]) for step in own]
            y = [predicted(one, found.costs) for one in works[kind]]
            marks += [
                Points(name, widths, measured, colour=colour),
                Line("", line, y, colour=colour),
            ]
        title = f"{formatting.count(tokens)} tokens"
        axis = "seconds, forward and backward"
        panels.append(Panel(title, "width d", axis, marks, log_x=True, log_y=True))
    alt = "Seconds of forward and backward against width: measured points, the model's lines"
    return Figure(f"cost-steps-{size}", alt, panels)


def _names(n: int) -> dict[str, tuple[str, int]]:
    return {
        "base": ("base", HEAD),
        "lora": (f"LoRA r = {RANK}", LORA),
        "weight": (f"FourierFT n = {n}, weight", FULL),
        "activation": (f"FourierFT n = {n}, activations", FOURIER),
    }


def between(low: int, high: int) -> list[int]:
    """Returns whole numbers at equal ratios, both ends included."""
    return [round(low * (high / low) ** (k / _DEGREE)) for k in range(_DEGREE + 1)]
