"""The head alone, LoRA and FourierFT on a Vision Transformer, to ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence import marks
from experiments.evidence.blocks import Aim, Block, Figure, Panel, Section, Table
from experiments.evidence.clocks import clock
from experiments.evidence.differences import OF_ACCURACY, paired
from experiments.evidence.evidence import Evidence
from experiments.evidence.findings import among_many
from experiments.evidence.formatting import NONE, UNITS, count, listed, power, seconds, size
from experiments.evidence.limits import NONE_REPORTED, each_seed, limits, planned_seeds, unfinished
from experiments.evidence.protocol import methods, parity, products
from experiments.evidence.rates import chosen, tried
from experiments.evidence.served import served_aim
from experiments.evidence.trainings import Group, groups, method_name
from experiments.fixed import MARGIN, WARM_UP
from experiments.records import Record
from experiments.settings import table
from experiments.trial import Json

_UNIT = UNITS["accuracy"]
_KINDS = ("head", "lora", "fourier")
"""Kinds of method in the order of the tables."""
_PAIRS = {("fourier", "lora"), ("fourier", "head"), ("lora", "head")}


def _rendered(evidence: Evidence) -> list[Block]:
    records, seeds = evidence.of("images"), planned_seeds("images", evidence.size)
    every = sorted(groups(records), key=_place)
    missing = unfinished(
        records,
        [table("images", evidence.size)["data"]],
        _names(evidence.size),
        seeds,
    )
    found = [group for group in every if group.runs]
    if not found:
        return [NONE_REPORTED, *missing, *_aims(evidence)]
    return [
        _protocol(found, records),
        OF_ACCURACY,
        *missing,
        _figure(evidence.size, found),
        _reached(found, seeds),
        *tried(found),
        *limits(found[0].task, every),
        *_differences(evidence, found),
        *_served(found),
        *_aims(evidence),
    ]


def _aims(evidence: Evidence) -> list[Aim]:
    """Every reporting seed of every FourierFT is served."""
    planned = table("images", evidence.size)
    answers = [
        record.result["onnxruntime"]
        for record in evidence.of("images")
        if "onnxruntime" in record.result
    ]
    count = len(planned["n"]) * len(planned["fresh_seeds"])
    return [served_aim("images, classes in ONNX Runtime against torch", answers, count)]


def _names(size_name: str) -> list[str]:
    """Returns what is compared, by configs/images.toml."""
    given = table("images", size_name)
    planned: dict[str, list[Json]] = {
        "head": [{"kind": "head"}],
        "lora": [{"kind": "lora", "rank": rank} for rank in given["ranks"]],
        "fourier": [{"kind": "fourier", "n": n} for n in given["n"]],
    }
    return [
        method_name(each) for kind in _KINDS if kind in given["rates"] for each in planned[kind]
    ]


def _place(group: Group) -> tuple[int, int]:
    method = group.method
    return _KINDS.index(method["kind"]), method.get("n") or method.get("rank") or 0


def _protocol(found: Sequence[Group], records: Sequence[Record]) -> str:
    trial = found[0].runs[0].trial
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
            f"Query and value of {which} are adapted, beside the same new head, which every method "
            "trains."
        ),
        *methods(found),
        *parity(found),
        (
            f"{trial['epochs']} epochs of batches of {trial['batch']}. AdamW, no weight decay, a "
            f"linear rise over {100 * WARM_UP:g} % of the steps and a linear fall."
        ),
        *products([run.trial for group in found for run in group.runs]),
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


def _reached(found: Sequence[Group], seeds: Sequence[int]) -> Table:
    told = clock(run for group in found for run in group.runs)
    rows = [
        [
            group.name, count(group.average("parameters")), count(group.average("head")),
            chosen(group), _UNIT.interval(group.mean("accuracy")), each_seed(group, seeds),
            size(group.average("file_bytes")), seconds(group.seconds(told)),
        ]
        for group in found
    ]  # fmt: skip
    header = (
        "method", "parameters beside the head", "head", "rate", _UNIT.on("test"), "each seed",
        "file, with the head", told.header,
    )  # fmt: skip
    return Table(header, rows)


def _differences(evidence: Evidence, found: Sequence[Group]) -> list[Block]:
    """FourierFTs against each other method, and LoRAs against the head."""
    pairs = [
        paired(evidence, ours, theirs)
        for ours in found
        for theirs in found
        if (ours.method["kind"], theirs.method["kind"]) in _PAIRS
    ]
    known = [pair for pair in pairs if pair is not None]
    of_lora = [
        each for each in known
        if (each.ours.method["kind"], each.theirs.method["kind"]) == ("fourier", "lora")
    ]  # fmt: skip
    if not known:
        return ["No two methods share a seed yet."]
    return [
        Table((_UNIT.on("test"), "difference"), [[each.name, each.written] for each in known]),
        "\n".join(each.said() for each in known),
        *among_many([each.interval for each in of_lora], "FourierFT minus LoRA"),
    ]


def _served(found: Sequence[Group]) -> list[Block]:
    runs = [(g, run) for g in found for run in g.runs if "onnxruntime" in run.result]
    if not runs:
        return ["Not run here: no trial was served in ONNX Runtime."]
    rows = []
    for group, run in runs:
        each = run.result["onnxruntime"]
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
        f"of all, led by less than {power(MARGIN)}", "largest error, of the largest logit",
        "accuracy (%)", "torch (%)",
    )  # fmt: skip
    return [Table(header, rows)]


def _figure(name: str, found: Sequence[Group]) -> Figure:
    points = marks.means("", [float(place) for place in range(len(found))], found)
    categories = [
        f"{group.name}\n{group.average('parameters'):,.0f}".replace(" ", "\n", 1) for group in found
    ]
    panel = Panel("", "", _UNIT.on("test"), (points,), categories=categories)
    return Figure(
        f"images-{name}", "Accuracy of each method with the parameters that it trains.", (panel,)
    )


SECTION = Section(
    "images",
    "Images",
    "Does FourierFT adapt a Vision Transformer as well as LoRA, and better than a linear probe?",
    _rendered,
    _aims,
)
