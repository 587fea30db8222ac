"""The part of the cost section about files: their bytes against n and width."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost.points import find
from experiments.evidence import formatting
from experiments.evidence.blocks import (
    FIFTH,
    FOURIER,
    Block,
    Figure,
    Level,
    Line,
    Panel,
    Points,
    Table,
)
from experiments.evidence.sections.cost_comparing import RANK, usual
from experiments.evidence.sections.cost_steps import between
from experiments.records import Record


def files(records: Sequence[Record], size: str) -> list[Block]:
    """Returns bytes at each width, n and rank, and how they grow."""
    sizes, ranks = (list(records[0].trial[name]) for name in ("sizes", "ranks"))
    targets = records[0].result["targets"]
    n = usual(records)
    rows, shares = [], []
    for record in records:
        found = record.result["files"]
        ours = [find(found, kind="fourier", size=each)["bytes"] for each in sizes]
        loras = [find(found, kind="lora", size=rank)["bytes"] for rank in ranks]
        share = ours[sizes.index(n)] / find(found, kind="lora", size=RANK)["bytes"]
        shares.append(share)
        numbers = [formatting.size(number) for number in (*ours, *loras)]
        rows.append([str(record.trial["width"]), *numbers, f"{100 * share:.1f} %"])
    header = [
        f"width, {targets} targets",
        *(f".fft, n = {each}" for each in sizes),
        *(f"LoRA r = {rank}" for rank in ranks),
        f"n = {n} of r = {RANK}",
    ]
    first, last = records[0], records[-1]
    says = (
        f"From width {first.trial['width']} to {last.trial['width']} the .fft of n = {n} grows "
        f"{_growth(first, last, 'fourier', n):.2f} times, LoRA r = {RANK} "
        f"{_growth(first, last, 'lora', RANK):.2f} times: from {100 * shares[0]:.1f} % of LoRA's "
        f"bytes to {100 * shares[-1]:.1f} %. A .fft is 4 bytes a coefficient, 8 an entry, and its "
        f"manifest with fingerprints, {_overhead(first)} a target; it is as large as a LoRA of "
        "rank r at about n = 2 r d."
    )
    panels = [_bytes_panel(record, sizes, targets) for record in _three(records)]
    alt = "Bytes of a file against n, with LoRA's at the same width"
    return [
        "#### Bytes of a file",
        Table(header, rows),
        says,
        Figure(f"cost-files-{size}", alt, panels),
    ]


def _growth(first: Record, last: Record, kind: str, size: int) -> float:
    """Returns how many times the bytes of the first the last ones are."""
    ends = [find(each.result["files"], kind=kind, size=size)["bytes"] for each in (first, last)]
    return float(ends[1] / ends[0])


def _overhead(record: Record) -> str:
    file = find(record.result["files"], kind="fourier", size=record.trial["sizes"][0])
    targets = record.result["targets"]
    content = 4 * file["size"] * targets + 8 * file["size"]
    return formatting.size((file["bytes"] - content) / targets)


def _three(records: Sequence[Record]) -> list[Record]:
    return [records[place] for place in sorted({0, len(records) // 2, len(records) - 1})]


def _bytes_panel(record: Record, sizes: Sequence[int], targets: int) -> Panel:
    files = record.result["files"]
    ours = [find(files, kind="fourier", size=n)["bytes"] for n in sizes]
    line = between(sizes[0], sizes[-1])
    marks: list[Line | Points | Level] = [
        Points(".fft", sizes, ours, colour=FOURIER),
        Line("4 (targets + 2) n", line, [4.0 * (targets + 2) * n for n in line], colour=FIFTH),
        *(
            Level(f"LoRA r = {file['size']}", file["bytes"])
            for file in files
            if file["kind"] == "lora"
        ),
    ]
    title = f"width {record.trial['width']}"
    return Panel(title, "n", "bytes of a file", marks, log_x=True, log_y=True)
