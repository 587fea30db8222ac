"""The part of the cost section about ONNX: conversion, and what an adapter costs in a batch."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost import points
from experiments.cost.model import Point, study
from experiments.cost.points import find, of, ratio, seconds
from experiments.evidence import formatting
from experiments.evidence.blocks import Block, Table
from experiments.evidence.sections.cost_model import errors, explained
from experiments.records import Record

_CONVERSION = (
    "Query and value of one width, in a graph in memory: both delta weights computed and added, by "
    "the same code for both methods. `fourier-convert` is the whole of it, from the adapter to a "
    "synced file, with every check; LoRA has no such converter here."
)
_DELTA_MODEL = (
    "The model of a delta weight: numbers through FFTs times log2 d, or products d^2 r; numbers "
    "moved, once more where they are too many for a cache; a call."
)
_SERVING = (
    "Two layers of one input in ONNX Runtime, over the base. An adapter a row: the live graph "
    "takes it in one Run; ONNX Runtime's own adapters need a Run for each row; a graph whose LoRA "
    "factors are inputs with a batch's axis takes it in one, but no adapter of ONNX Runtime's."
)
_SERVING_MODEL = (
    "The model of a batch: the units of fourier_runtimes/costs.py for base and live graph; for "
    "LoRA calls, products, factors read and numbers moved."
)


def conversion(records: Sequence[Record], n: int, rank: int) -> list[Block]:
    """Returns how long a delta weight, merging and converting take."""
    found = of(records, "ConversionTrial")
    rows, shares = [], []
    for record in found:
        jobs = record.result["jobs"]
        times = [
            find(jobs, kind=kind, size=size, job=job)
            for job in ("delta", "merge")
            for kind, size in (("fourier", n), ("lora", rank))
        ]
        whole = find(jobs, kind="fourier", size=n, job="convert")
        shares.append(ratio(times[2], times[3]))
        cells = [formatting.seconds(seconds(job)) for job in (*times, whole)]
        rows.append([str(record.trial["width"]), *cells])
    header = (
        "width", f"a delta weight, n = {n}", f"B A, r = {rank}", "two merged, FourierFT",
        "two merged, LoRA", "fourier-convert",
    )  # fmt: skip
    same = all(
        record.result["same_nodes"] and record.result["base_bytes"] == record.result["merged_bytes"]
        for record in found
    )
    merged = (
        "A merged graph has the base's nodes and its bytes, so serving it costs what the base does."
        if same
        else "A merged graph differs from its base in nodes or bytes: serving it may cost more."
    )
    says = (
        f"Merging FourierFT takes {min(shares):.2f} to {max(shares):.2f} times what merging LoRA "
        f"r = {rank} does. {merged}"
    )
    return [
        _CONVERSION,
        Table(header, rows),
        says,
        _DELTA_MODEL,
        *_model(points.deltas(records)),
    ]


def serving(records: Sequence[Record], served: Sequence[Record], n: int, rank: int) -> list[Block]:
    """Returns what a batch costs in each form over the base."""
    wanted = [("live", n, "one"), ("lora", rank, "one"), ("live", n, "rows")]
    wanted += [("lora", rank, "rows"), ("lora", rank, "batched")]
    rows, wins, several = [], [0, 0], 0
    for record in served:
        forms = record.result["forms"]
        base = find(forms, kind="base")
        cells = []
        for kind, size, adapters in wanted:
            fields = {"kind": kind, "size": size, "adapters": adapters}
            there = any(all(form[k] == v for k, v in fields.items()) for form in forms)
            cells.append(f"{ratio(find(forms, **fields), base):.2f}" if there else formatting.NONE)
        if record.trial["rows"] > 1:
            several += 1
            live = find(forms, kind="live", size=n, adapters="rows")
            for place, adapters in enumerate(("rows", "batched")):
                peer = find(forms, kind="lora", size=rank, adapters=adapters)
                wins[place] += ratio(live, peer) <= 1
        batch = f"{record.trial['rows']} x {record.trial['tokens']}"
        rows.append(
            [f"{record.trial['width']}, {batch}", formatting.seconds(seconds(base)), *cells]
        )
    header = (
        "width, rows x tokens", "base", f"live n = {n}, one for all",
        f"LoRA r = {rank}, one for all", "live, one a row", "LoRA, a Run a row",
        "LoRA, factors fed a row",
    )  # fmt: skip
    says = (
        "With an adapter for each row the live graph is no slower than ONNX Runtime's LoRA, a Run "
        f"a row, in {wins[0]} of {several} batches, than fed factors in {wins[1]}."
    )
    return [
        _SERVING,
        Table(header, rows),
        says,
        _SERVING_MODEL,
        *_model(points.serving(records)),
    ]


def _model(found: list[Point]) -> list[Block]:
    fitted = study(found, lambda _: False)
    return [errors(fitted), explained(fitted)]
