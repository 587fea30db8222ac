"""The part of the cost section about serving: what an adapter costs in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from experiments.cost import points
from experiments.cost.model import study
from experiments.cost.points import Ratios, find, ratios, seconds
from experiments.evidence import formatting
from experiments.evidence.blocks import Block, Table
from experiments.evidence.sections.cost_comparing import RANK, by_size, cell, told, usual
from experiments.evidence.sections.cost_model import errors, explained, units
from experiments.records import Record
from experiments.trial import Json

_SERVING = (
    "Two layers of one input in ONNX Runtime, over the base. An adapter a row: the live graph "
    "takes it in one Run; ONNX Runtime's own adapters need a Run for each row; a graph whose LoRA "
    "factors are inputs with a batch's axis takes it in one, but no adapter of ONNX Runtime's."
)
_MODEL = (
    "The model of a batch: the units of fourier_runtimes/costs.py for base and live graph; for "
    "LoRA calls, products, factors read and numbers moved."
)
PAIRS: Final = (
    ("one adapter for all rows", "one", "one", "ONNX Runtime's LoRA"),
    ("an adapter a row, a Run a row", "rows", "rows", "ONNX Runtime's LoRA, a Run a row"),
    ("an adapter a row, factors fed", "rows", "batched", "a graph that is fed each row's factors"),
)
"""What is compared: a column's name, the live graph's form, LoRA's, and its name in a sentence."""
FED: Final = {"one": "one adapter for all rows", "rows": "an adapter a row"}
"""The adapters of a form -> in words."""


def serving(records: Sequence[Record]) -> list[Block]:
    """Returns what a batch costs in each form over the base, as n and the rank grow too."""
    n = usual(records)
    found = study(points.serving(records), lambda _: False)
    rows = [(_name(record), record.result) for record in records]
    several = [record for record in records if record.trial["rows"] > 1]
    blocks: list[Block] = ["#### Serving", _SERVING, _table(records, n)]
    blocks += _compared(records, n)
    trial = records[0].trial
    for adapters, words in FED.items():
        wanted = [("live n", f"live {adapters}", size) for size in trial["sizes"]]
        wanted += [("LoRA r", f"lora {adapters}", rank) for rank in trial["ranks"]]
        if adapters == "rows":
            wanted += [("factors fed, r", "lora batched", rank) for rank in trial["ranks"]]
        own = rows if adapters == "one" else [(_name(one), one.result) for one in several]
        if own:
            blocks.append(f"Over the base, {words}, as n and the rank grow:")
            blocks.append(by_size("width, rows x tokens", own, wanted, _over_base))
    return [*blocks, _MODEL, units(found), errors(found), explained(found)]


def _name(record: Record) -> str:
    return f"{record.trial['width']}, {record.trial['rows']} x {record.trial['tokens']}"


def _table(records: Sequence[Record], n: int) -> Table:
    wanted = [("live one", n), ("lora one", RANK), ("live rows", n), ("lora rows", RANK)]
    wanted.append(("lora batched", RANK))
    rows = [
        [
            _name(record),
            formatting.seconds(seconds(find(record.result["forms"], kind="base"))),
            *(_over_base(record.result, *form) or formatting.NONE for form in wanted),
        ]
        for record in records
    ]
    header = (
        "width, rows x tokens", "base", f"live n = {n}, one for all",
        f"LoRA r = {RANK}, one for all", "live, one a row", "LoRA, a Run a row",
        "LoRA, factors fed a row",
    )  # fmt: skip
    return Table(header, rows)


def _over_base(measured: Json, form: str, size: int) -> str | None:
    """Returns a form's cell; of a single row there are no forms of several."""
    kind, adapters = form.split()
    forms = measured["forms"]
    own = [f for f in forms if (f["kind"], f["adapters"], f["size"]) == (kind, adapters, size)]
    return cell(ratios(own[0], find(forms, kind="base"))) if own else None


def over_lora(records: Sequence[Record], n: int, ours: str, theirs: str) -> dict[str, Ratios]:
    """Returns a batch's label -> the live graph's time over LoRA's, where both forms were measured.

    Args:
        records: The trials.
        n: Of the live graph.
        ours: The adapters of its form, as in PAIRS.
        theirs: Of LoRA's.
    """
    found = {}
    for record in records:
        forms = record.result["forms"]
        own = {(each["kind"], each["adapters"]) for each in forms}
        if {("live", ours), ("lora", theirs)} <= own:
            live = find(forms, kind="live", size=n, adapters=ours)
            lora = find(forms, kind="lora", size=RANK, adapters=theirs)
            found[record.label] = ratios(live, lora)
    return found


def _compared(records: Sequence[Record], n: int) -> list[Block]:
    """Returns the live graph's time over LoRA's of each batch, and where it is the faster."""
    found = {name: over_lora(records, n, ours, theirs) for name, ours, theirs, _ in PAIRS}
    rows = [
        [
            _name(record),
            *(cell(each[record.label]) if record.label in each else formatting.NONE
              for each in found.values()),
        ]
        for record in records
    ]  # fmt: skip
    places = {
        record.label: f"{record.trial['width']} wide with {record.trial['rows']} x "
        f"{record.trial['tokens']}"
        for record in records
    }
    said = [
        f"With {FED[ours]}, the live graph of n = {n} beside {peer}, r = {RANK}. "
        f"{told({places[label]: each for label, each in found[name].items()})}"
        for name, ours, _, peer in PAIRS
        if found[name]
    ]
    return [
        f"The live graph's time, n = {n}, over LoRA's, r = {RANK}:",
        Table(("width, rows x tokens", *found), rows),
        *said,
    ]
