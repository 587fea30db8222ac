"""What FourierFT costs beside LoRA, measured, and the model that explains it."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost import points, work
from experiments.cost.model import Study, predicted, study
from experiments.cost.points import AUTO, find, of, ratio, seconds
from experiments.evidence import formatting
from experiments.evidence.blocks import (
    FIFTH,
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
    Section,
    Table,
)  # fmt: skip
from experiments.evidence.evidence import Evidence
from experiments.evidence.sections import cost_model, cost_serving
from experiments.records import Record
from experiments.trial import Json

RANK = 8
"""Of the LoRA that everything is compared with."""
N = 1000
"""Of the FourierFT that is compared with it: the paper's."""
_DEGREE = 40  # points of a model's line: drawn without markers from 41


def blocks(evidence: Evidence) -> list[Block]:
    """Returns the section of one size."""
    records = evidence.of("cost")
    steps, served = of(records, "TrainTrial"), of(records, "ServeTrial")
    found = study(points.training(records), lambda point: point.kind == AUTO)
    n = _usual(steps[0].trial["sizes"])
    tokens = _tokens(steps)
    return [
        _setting(steps[0]),
        "#### Time of a training step",
        _times(steps, n),
        _faster(steps, n),
        "Over the base alone, as n and the rank grow:",
        _sizes([step for step in steps if step.trial["tokens"] == _middle(tokens)]),
        _figure(steps, n, found, evidence.size),
        *cost_model.training(found, steps, n, RANK),
        "#### Memory of a training step",
        _memory([step for step in steps if step.trial["tokens"] == _middle(tokens)], n),
        _memory_says(steps, n),
        "#### Bytes of a file",
        *_files(of(records, "FileTrial"), evidence.size),
        "#### Conversion and serving",
        *cost_serving.conversion(records, n, RANK),
        *cost_serving.serving(records, served, n, RANK),
    ]


def _setting(step: Record) -> str:
    device, threads = step.environment["device"], step.environment["threads"]
    return (
        f"One linear layer (d, d) without bias, frozen, float32, inside a model: forward, and "
        f"backward to its input. LoRA is PEFT's. Device: {device}, {threads} threads. All ways of "
        f"one row are timed in turn, {step.trial['rounds']} rounds; ratios are medians over rounds."
    )


def _middle(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]


def _usual(sizes: Sequence[int]) -> int:
    """Returns the paper's n, where it was measured."""
    return N if N in sizes else _middle(sizes)


def _tokens(steps: Sequence[Record]) -> list[int]:
    return sorted({step.trial["tokens"] for step in steps})


def _arms(step: Record, n: int) -> dict[str, Json]:
    """Returns the base, LoRA and FourierFT of n, by path."""
    arms = step.result["arms"]
    found = {"base": find(arms, kind="base"), "lora": find(arms, kind="lora", size=RANK)}
    return found | {
        path: find(arms, kind="fourier", size=n, path=path)
        for path in ("auto", "weight", "activation")
    }


def _times(steps: Sequence[Record], n: int) -> Table:
    rows = []
    for step in steps:
        arms = _arms(step, n)
        over = [f"{ratio(arms[kind], arms['base']):.2f}" for kind in list(arms)[1:]]
        rows.append(
            [
                str(step.trial["width"]),
                formatting.count(step.trial["tokens"]),
                formatting.seconds(seconds(arms["base"])),
                *over,
                f"{ratio(arms[AUTO], arms['lora']):.2f}",
            ]
        )
    ours = f"FourierFT n = {n}"
    header = (
        "width", "tokens", "base", f"LoRA r = {RANK} / base", f"{ours} / base",
        "through the weight", "through activations", "FourierFT / LoRA",
    )  # fmt: skip
    return Table(header, rows)


def _faster(steps: Sequence[Record], n: int) -> str:
    """Says how the steps compare, and where FourierFT's is the faster."""
    found = {step.label: ratio(_arms(step, n)[AUTO], _arms(step, n)["lora"]) for step in steps}
    cheaper = [label.removeprefix("train ") for label, value in found.items() if value <= 1]
    low, high = min(found.values()), max(found.values())
    where = f"It is not slower at {'; '.join(cheaper)}." if cheaper else "It is slower everywhere."
    return (
        f"A step with FourierFT n = {n} takes {low:.2f} to {high:.2f} times that with LoRA "
        f"r = {RANK}. {where}"
    )


def _sizes(steps: Sequence[Record]) -> Table:
    trial = steps[0].trial
    wanted = [("lora", rank, "LoRA r") for rank in trial["ranks"]]
    wanted += [("fourier", n, "FourierFT n") for n in trial["sizes"]]
    rows = []
    for step in steps:
        arms = step.result["arms"]
        base = find(arms, kind="base")
        over = [
            ratio(find(arms, kind=kind, size=size, path=AUTO), base) for kind, size, _ in wanted
        ]
        rows.append([str(step.trial["width"]), *(f"{value:.2f}" for value in over)])
    tokens = formatting.count(trial["tokens"])
    return Table(
        (f"width, {tokens} tokens", *(f"{name} = {size}" for _, size, name in wanted)), rows
    )


def _figure(steps: Sequence[Record], n: int, found: Study, size: str) -> Figure:
    panels = []
    for tokens in _tokens(steps)[:3]:
        own = [step for step in steps if step.trial["tokens"] == tokens]
        widths = points.widths(own)
        line = _between(widths[0], widths[-1])
        works = {
            "base": [work.base(width, tokens) for width in line],
            "lora": [work.lora(width, tokens, RANK) for width in line],
            **{
                path: [work.fourier(width, tokens, n, (path,) * 3) for width in line]
                for path in ("weight", "activation")
            },
        }
        marks: list[Line | Points | Level] = []
        for kind, (name, colour) in _names(n).items():
            measured = [seconds(_arms(step, n)[kind]) for step in own]
            y = [predicted(one, found.costs) for one in works[kind]]
            marks += [
                Points(name, widths, measured, colour=colour),
                Line("", line, y, colour=colour),
            ]
        title = f"{formatting.count(tokens)} tokens"
        panels.append(Panel(title, "width d", "seconds of a step", marks, log_x=True, log_y=True))
    alt = "Seconds of a training step against width: measured points, the model's lines"
    return Figure(f"cost-steps-{size}", alt, panels)


def _names(n: int) -> dict[str, tuple[str, int]]:
    return {
        "base": ("base", HEAD),
        "lora": (f"LoRA r = {RANK}", LORA),
        "weight": (f"FourierFT n = {n}, weight", FULL),
        "activation": (f"FourierFT n = {n}, activations", FOURIER),
    }


def _between(low: int, high: int) -> list[int]:
    """Returns widths at equal ratios, both ends included."""
    return [round(low * (high / low) ** (k / _DEGREE)) for k in range(_DEGREE + 1)]


def _memory(steps: Sequence[Record], n: int) -> Table:
    rows = []
    for step in steps:
        arms = _arms(step, n)
        for kind, name in (("lora", f"LoRA r = {RANK}"), (AUTO, f"FourierFT n = {n}")):
            held = arms[kind]["bytes"]
            above = held["peak"] - arms["base"]["bytes"]["peak"]
            numbers = (_trained(held), held["shared"], held["saved"], above)
            rows.append([str(step.trial["width"]), name, *map(formatting.size, numbers)])
    tokens = formatting.count(steps[0].trial["tokens"])
    header = (
        f"width, {tokens} tokens", "", "parameters, gradients, AdamW's states",
        "shared by all targets", "saved for the backward pass", "peak above the base's",
    )  # fmt: skip
    return Table(header, rows)


def _trained(held: Json) -> int:
    return int(held["parameters"] + held["gradients"] + held["states"])


def _memory_says(steps: Sequence[Record], n: int) -> str:
    """Says what is kept for training and what a step takes at most, FourierFT over LoRA."""
    arms = [_arms(step, n) for step in steps]
    kept = [_trained(a["lora"]["bytes"]) / _trained(a[AUTO]["bytes"]) for a in arms]
    peak = [a[AUTO]["bytes"]["peak"] / a["lora"]["bytes"]["peak"] for a in arms]
    less = sum(value <= 1 for value in peak)
    return (
        f"Trained numbers with gradients and states: LoRA r = {RANK} keeps {min(kept):.1f} to "
        f"{max(kept):.1f} times FourierFT's bytes. The peak of one layer's step, all widths and "
        f"tokens: FourierFT takes {min(peak):.2f} to {max(peak):.2f} times LoRA's, no more in "
        f"{less} of {len(peak)}. It passes with the layer, while trained numbers of all layers "
        "stay."
    )


def _files(records: Sequence[Record], size: str) -> list[Block]:
    sizes, ranks = (list(records[0].trial[name]) for name in ("sizes", "ranks"))
    targets = records[0].result["targets"]
    n = _usual(sizes)
    rows, shares = [], []
    for record in records:
        files = record.result["files"]
        ours = [find(files, kind="fourier", size=n)["bytes"] for n in sizes]
        loras = [find(files, kind="lora", size=rank)["bytes"] for rank in ranks]
        share = ours[sizes.index(n)] / find(files, kind="lora", size=RANK)["bytes"]
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
    return [Table(header, rows), says, Figure(f"cost-files-{size}", alt, panels)]


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
    line = _between(sizes[0], sizes[-1])
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


SECTION = Section(
    "cost",
    "What it costs",
    "How do time and memory of a training step, bytes of a file, and time of conversion and "
    "serving grow with width and n, beside LoRA's, and which model explains it? (The paper's open "
    "question 3.)",
    blocks,
)
