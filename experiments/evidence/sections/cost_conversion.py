"""The part of the cost section about conversion: a delta weight, merging, the converter."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost import points
from experiments.cost.model import study
from experiments.cost.points import Ratios, find, ratios, seconds
from experiments.evidence import formatting
from experiments.evidence.blocks import Block, Table
from experiments.evidence.sections.cost_comparing import RANK, by_size, cell, columns, told, usual
from experiments.evidence.sections.cost_model import errors, explained, units
from experiments.records import Record
from experiments.trial import Json

_CONVERSION = (
    "Query and value of one width. Merging: both delta weights computed whole, as the graph stores "
    "weights, and added to arrays in memory, by the same code for both methods; no graph, no file, "
    "no check. `fourier-convert` is all of it, from the adapter to a synced file, with every "
    "check; LoRA has no such converter here."
)
_MODEL = (
    "The model of a delta weight: numbers through FFTs times log2 d, or products d^2 r; numbers "
    "moved, once more where they are too many for a cache; a call."
)


def conversion(records: Sequence[Record]) -> list[Block]:
    """Returns how long a delta weight, merging and converting take."""
    n = usual(records)
    merges = {f"width {record.trial['width']}": _merging(record, n) for record in records}
    found = study(points.deltas(records), lambda _: False)
    rows = [(str(record.trial["width"]), record.result) for record in records]
    return [
        "#### Conversion",
        _CONVERSION,
        _table(records, n),
        (
            f"Merging FourierFT n = {n} beside merging LoRA r = {RANK}. {told(merges)} "
            f"{_merged_says(records)}"
        ),
        "A delta weight, as n and the rank grow:",
        by_size("width", rows, columns(records[0]), lambda *of: _time("delta", *of)),
        "Two merged, as n and the rank grow:",
        by_size("width", rows, columns(records[0]), lambda *of: _time("merge", *of)),
        _MODEL,
        units(found),
        errors(found),
        explained(found),
    ]


def _merging(record: Record, n: int) -> Ratios:
    jobs = record.result["jobs"]
    ours, theirs = (
        find(jobs, kind=kind, size=size, job="merge")
        for kind, size in (("fourier", n), ("lora", RANK))
    )
    return ratios(ours, theirs)


def _table(records: Sequence[Record], n: int) -> Table:
    rows = []
    for record in records:
        jobs = record.result["jobs"]
        times = [
            find(jobs, kind=kind, size=size, job=job)
            for job in ("delta", "merge")
            for kind, size in (("fourier", n), ("lora", RANK))
        ]
        times.append(find(jobs, kind="fourier", size=n, job="convert"))
        cells = [formatting.seconds(seconds(job)) for job in times]
        rows.append([str(record.trial["width"]), *cells, cell(_merging(record, n))])
    header = (
        "width", f"a delta weight, n = {n}", f"B A, r = {RANK}", "two merged, FourierFT",
        "two merged, LoRA", "fourier-convert", "merged, FourierFT / LoRA",
    )  # fmt: skip
    return Table(header, rows)


def _time(job: str, measured: Json, kind: str, size: int) -> str:
    return formatting.seconds(seconds(find(measured["jobs"], kind=kind, size=size, job=job)))


def _merged_says(records: Sequence[Record]) -> str:
    same = all(
        record.result["same_nodes"] and record.result["base_bytes"] == record.result["merged_bytes"]
        for record in records
    )
    if same:
        return "A merged graph has the base's nodes and bytes: serving it costs what the base does."
    return "A merged graph differs from its base in nodes or bytes: serving it may cost more."
