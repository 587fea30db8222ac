"""The head alone, LoRA and FourierFT on a Vision Transformer, to ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evidence.blocks import Aim, Block, Figure, Panel, Points, Section, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import against_zero, among_many
from experiments.evidence.formatting import NONE, UNITS, count, listed, seconds, significant, size
from experiments.evidence.trainings import method_name
from experiments.fixed import MARGIN
from experiments.records import Record
from experiments.statistics import Interval, Numbers, difference, mean_interval
from experiments.trial import Json

_UNIT = UNITS["accuracy"]
_KINDS = ("head", "lora", "fourier")
"""Kinds of method in the order of the tables."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A method: the trials that chose its rate, by rate, and those that report, by seed."""

    method: Json
    tried: tuple[Record, ...]
    runs: tuple[Record, ...]

    @property
    def name(self) -> str:
        return method_name(self.method)

    @property
    def kind(self) -> str:
        return str(self.method["kind"])

    @property
    def values(self) -> list[float]:
        return [run.result["report"]["accuracy"] for run in self.runs]

    @property
    def right(self) -> dict[int, Numbers]:
        """Seed -> 1 for each image that was judged right, else 0: (images,)."""
        return {
            run.trial["seed"]: np.array([float(hit) for hit in run.result["right"]])
            for run in self.runs
        }

    def average(self, name: str) -> float:
        return float(np.mean([run.result[name] for run in self.runs]))

    def time(self, name: str) -> float:
        return float(np.mean([sum(e[name] for e in r.result["history"]) for r in self.runs]))


def _rendered(evidence: Evidence) -> list[Block]:
    records = evidence.of("images")
    found = [group for group in _groups(records) if group.runs]
    if not found:
        return ["Rates have been tried, and no fresh seed has reported yet."]
    return [
        _protocol(found[0].runs[0].trial, records),
        _figure(evidence.size, found),
        _reached(found),
        "The rates that were tried, each with its score on the choosing split:",
        _rates(found),
        *_differences(found),
        *_served(found),
    ]


def _groups(records: Sequence[Record]) -> list[_Group]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.trial["trial"] == "ImageTrial":
            method = json.dumps(record.trial["method"], sort_keys=True)
            found.setdefault(method, []).append(record)
    groups = [
        _Group(
            each[0].trial["method"],
            tuple(sorted((r for r in each if not r.trial["report"]), key=_rate_of)),
            tuple(sorted((r for r in each if r.trial["report"]), key=lambda r: r.trial["seed"])),
        )
        for each in found.values()
    ]
    return sorted(
        groups, key=lambda g: (_KINDS.index(g.kind), g.method.get("n") or g.method.get("rank"))
    )


def _rate_of(record: Record) -> float:
    return float(record.trial["rate"])


def _protocol(trial: Json, records: Sequence[Record]) -> str:
    layers = trial["trained_layers"]
    which = f"the last {layers} layers" if layers else "all layers"
    classes = f"classes {listed([str(k) for k in trial['classes']])}" if trial["classes"] else "all"
    rows = "all images of train" if trial["rows"] is None else f"{trial['rows']:,} of train"
    lines = [
        (
            f"Set: {trial['data']}, {classes}; {rows}, of which a fixed tenth chooses rates and "
            "epochs; the official test reports, once."
        ),
        *_base(trial["base"], records),
        (
            f"Query and value of {which} are adapted, alpha and n fixed beforehand; every method "
            f"trains the same new head beside it, at the rate {trial['head_rate']:g}."
        ),
        (
            f"{trial['epochs']} epochs of batches of {trial['batch']}; each method was tried at as "
            "many rates, each once; then fresh seeds report. Equal seeds have equal heads at the "
            "start and equal batches."
        ),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _base(base: Json, records: Sequence[Record]) -> list[str]:
    if "name" in base:
        return [f"Base: {base['name']}, pretrained by others."]
    found = [r.result for r in records if r.trial["trial"] == "PretextTrial"]
    classes = listed([str(k) for k in base["classes"]])
    rows = "all images" if base["rows"] is None else f"{base['rows']:,} images"
    text = (
        f"Base: no pretrained Vision Transformer was at hand. One of {base['layers']} layers of "
        f"width {base['width']}, patches of {base['patch']} x {base['patch']} pixels, learned "
        f"{base['data']}'s classes {classes} from nothing, in {base['epochs']} epochs over {rows} "
        "of train (a tenth chose the epoch). The classes that it is adapted to it has never seen."
    )
    learned = [f" On the {r['images']:,} test images of its own classes it is right in "
               f"{_UNIT.value(r['report']['accuracy'])} %." for r in found[:1]]  # fmt: skip
    return [text + "".join(learned)]


def _reached(found: Sequence[_Group]) -> Table:
    rows = [
        [
            group.name, count(group.average("parameters")), count(group.average("head")),
            significant(group.runs[0].trial["rate"]), _UNIT.interval(mean_interval(group.values)),
            " ".join(_UNIT.value(value) for value in group.values),
            size(group.average("file_bytes")), seconds(group.time("seconds")),
            seconds(group.time("cpu_seconds")),
        ]
        for group in found
    ]  # fmt: skip
    seeds = " ".join(str(run.trial["seed"]) for run in found[0].runs)
    header = (
        "method", "parameters beside the head", "head", "rate", _UNIT.on("test"),
        f"seeds {seeds}", "file", "training", "processor",
    )  # fmt: skip
    return Table(header, rows)


def _rates(found: Sequence[_Group]) -> Table:
    most = max(len(group.tried) for group in found)
    rows = []
    for group in found:
        cells = [f"{_rate_of(r):g}: {_UNIT.value(r.result['choose'])}" for r in group.tried]
        chosen = f"{_rate_of(group.runs[0]):g}"
        if group.tried and _rate_of(group.runs[0]) in {
            _rate_of(group.tried[0]), _rate_of(group.tried[-1]),
        }:  # fmt: skip
            chosen += ", at the edge"
        rows.append([group.name, *cells, *[NONE] * (most - len(cells)), chosen])
    return Table(("method", *("rate: score",) * most, "chosen"), rows)


def _differences(found: Sequence[_Group]) -> list[Block]:
    """FourierFTs against each other method, and LoRAs against the head."""
    pairs = [
        (ours, theirs)
        for ours in found
        for theirs in found
        if (ours.kind, theirs.kind) in {("fourier", "lora"), ("fourier", "head"), ("lora", "head")}
    ]
    known = [(ours, theirs, _paired(ours, theirs)) for ours, theirs in pairs]
    clear = [(a, b, interval) for a, b, interval in known if interval is not None]
    if not clear:
        return []
    rows = [[f"{a.name} minus {b.name}", _UNIT.difference(found)] for a, b, found in clear]
    said = [against_zero(a.name, b.name, interval, _UNIT) for a, b, interval in clear]
    return [
        Table((_UNIT.on("test"), "difference"), rows),
        "\n".join(said),
        among_many([interval for *_, interval in clear]),
    ]


def _paired(ours: _Group, theirs: _Group) -> Interval | None:
    left, right = ours.right, theirs.right
    shared = [seed for seed in left if seed in right]
    if not shared:
        return None
    a, b = (np.stack([found[seed] for seed in shared]) for found in (left, right))
    return difference("accuracy", a, b, np.ones(a.shape[1]))


def _served(found: Sequence[_Group]) -> list[Block]:
    runs = [(g, run) for g in found for run in g.runs if "onnxruntime" in run.result]
    if not runs:
        return ["Not run here: no trial was served in ONNX Runtime."]
    rows, margins, total = [], [], 0
    for group, run in runs:
        each = run.result["onnxruntime"]
        margins += [one["margin"] for one in each["differing"]]
        total += each["answers"]
        listed_ids = [f"{one['margin']:.1e} (image {one['id']})" for one in each["differing"]]
        rows.append(
            [
                group.name, str(run.trial["seed"]), count(each["answers"]),
                str(len(each["differing"])), ", ".join(listed_ids) or NONE,
                count(each["margins_below"]), f"{each['relative_error']:.1e}",
                _UNIT.value(each["accuracy"]), _UNIT.value(each["torch"]),
            ]
        )  # fmt: skip
    header = (
        "ONNX Runtime against torch", "seed", "images", "classes that differ", "their margins",
        "margins below 1e-4", "largest error, of the largest logit", "accuracy (%)", "torch (%)",
    )  # fmt: skip
    text = f"{len(margins)} of {count(total)} answers differ"
    if margins:
        text += f", at margins of at most {max(margins):.1e}"
    aim = Aim(
        "classes in ONNX Runtime against torch",
        "equal, or at a margin below 1e-4",
        text,
        all(margin < MARGIN for margin in margins),
    )
    return [Table(header, rows), aim]


def _figure(name: str, found: Sequence[_Group]) -> Figure:
    means = [mean_interval(group.values) for group in found]
    factor = _UNIT.factor
    marks = Points(
        "",
        [float(place) for place in range(len(found))],
        [factor * mean.mean for mean in means],
        [factor * (mean.mean if mean.low is None else mean.low) for mean in means],
        [factor * (mean.mean if mean.high is None else mean.high) for mean in means],
        [[factor * value for value in group.values] for group in found],
    )
    categories = [
        f"{group.name}\n{group.average('parameters'):,.0f}".replace(" ", "\n", 1) for group in found
    ]
    panel = Panel("", "", _UNIT.on("test"), (marks,), categories=categories)
    return Figure(
        f"images-{name}", "Accuracy of each method with the parameters that it trains.", (panel,)
    )


SECTION = Section(
    "images",
    "Images",
    "Does FourierFT adapt a Vision Transformer as well as LoRA, and better than a linear probe?",
    _rendered,
)
