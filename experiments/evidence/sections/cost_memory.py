"""The part of the cost section about memory: what a layer keeps, what it takes at most."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost.model import study
from experiments.cost.points import AUTO, find, peaks
from experiments.evidence import formatting
from experiments.evidence.blocks import Block, Table
from experiments.evidence.sections.cost_comparing import RANK, by_size, columns, middle, usual
from experiments.evidence.sections.cost_model import errors, explained, units
from experiments.evidence.sections.cost_steps import arms_of, tokens_of
from experiments.records import Record
from experiments.trial import Json

_MODEL = (
    "The model of the peak counts numbers of float32 (experiments/cost/work.py, `held`): input's "
    "gradient and output (state); of a LoRA one state more and its thin products; through the "
    "weight d^2 cells and the rows of a factor in use; through activations blocks of them. Bytes "
    "of a unit are fitted:"
)


def memory(records: Sequence[Record]) -> list[Block]:
    """Returns what is held, at each width, n and rank, with the model that explains the peak."""
    n, tokens = usual(records), middle(tokens_of(records))
    own = [step for step in records if step.trial["tokens"] == tokens]
    rows = [(str(step.trial["width"]), step.result) for step in own]
    first = f"width, {formatting.count(tokens)} tokens"
    found = study(peaks(records), lambda point: point.kind == AUTO)
    return [
        "#### Memory of forward and backward",
        _held(own, n, first),
        _kept_says(own, n),
        "The peak above the base's, as n and the rank grow:",
        by_size(first, rows, columns(own[0]), _above),
        "Parameters, gradients and AdamW's states, and what the backward pass needs saved:",
        by_size(first, rows, columns(own[0]), _kept_cell),
        _MODEL,
        units(found, "bytes"),
        errors(found),
        explained(found),
    ]


def _held(records: Sequence[Record], n: int, first: str) -> Table:
    rows = []
    for step in records:
        arms = arms_of(step, n)
        for kind, name in (("lora", f"LoRA r = {RANK}"), (AUTO, f"FourierFT n = {n}")):
            held = arms[kind]["bytes"]
            above = held["peak"] - arms["base"]["bytes"]["peak"]
            numbers = (_trained(held), held["shared"], held["saved"], above, held["peak"])
            rows.append([str(step.trial["width"]), name, *map(formatting.size, numbers)])
    header = (
        first, "", "parameters, gradients, AdamW's states",
        "shared by all targets", "saved for the backward pass", "peak above the base's",
        "whole peak",
    )  # fmt: skip
    return Table(header, rows)


def _trained(held: Json) -> int:
    return int(held["parameters"] + held["gradients"] + held["states"])


def _kept(held: Json) -> int:
    """Returns what a layer holds between its forward and its backward pass."""
    return _trained(held) + int(held["saved"])


def _kept_says(records: Sequence[Record], n: int) -> str:
    """Says what a layer keeps and what it takes at most, FourierFT over LoRA."""
    arms = [arms_of(step, n) for step in records]
    trained, kept, peak, above = (
        [of(a, AUTO) / of(a, "lora") for a in arms]
        for of in (
            lambda a, kind: _trained(a[kind]["bytes"]),
            lambda a, kind: _kept(a[kind]["bytes"]),
            lambda a, kind: a[kind]["bytes"]["peak"],
            lambda a, kind: a[kind]["bytes"]["peak"] - a["base"]["bytes"]["peak"],
        )
    )
    return (
        f"FourierFT n = {n} over LoRA r = {RANK}, at these widths: {_range(trained)} of the "
        f"bytes for trained numbers, gradients and states; {_range(kept)} with what is saved, as "
        f"every layer of a model holds it at once; {_range(above)} of what one layer's peak lies "
        f"above the base's, {_range(peak)} of that whole peak."
    )


def _range(shares: Sequence[float]) -> str:
    ends = f"{min(shares):.2g}", f"{max(shares):.2g}"
    return " to ".join(dict.fromkeys(ends))


def _bytes(measured: Json, kind: str, size: int) -> Json:
    held: Json = find(measured["arms"], kind=kind, size=size, path=AUTO)["bytes"]
    return held


def _above(measured: Json, kind: str, size: int) -> str:
    base = find(measured["arms"], kind="base")["bytes"]
    return formatting.size(_bytes(measured, kind, size)["peak"] - base["peak"])


def _kept_cell(measured: Json, kind: str, size: int) -> str:
    held = _bytes(measured, kind, size)
    return f"{formatting.size(_trained(held))} + {formatting.size(held['saved'])}"
