"""FourierFT in one architecture after another: trains, converts, serves."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Section, Table
from experiments.evidence.clocks import Clock, clock
from experiments.evidence.evidence import Evidence
from experiments.evidence.formatting import NONE, UNITS, count, listed, seconds, size
from experiments.evidence.served import served_aim
from experiments.evidence.sweeps import Sweep, unfinished
from experiments.records import Record
from experiments.settings import table
from experiments.trial import Json

_NAMES = {
    "bert": "BERT", "mpnet": "MPNet", "deberta": "DeBERTa-v3", "gpt2": "GPT-2",
    "gpt_neo": "GPT-Neo", "llama": "LLaMA", "vit": "ViT", "resnet": "ResNet",
    "efficientnet": "EfficientNet",
}  # fmt: skip
_SORTS = {
    "bert": "encoder", "mpnet": "encoder", "deberta": "encoder", "gpt2": "decoder",
    "gpt_neo": "decoder", "llama": "decoder", "vit": "ViT", "resnet": "convolution",
    "efficientnet": "convolution",
}  # fmt: skip
"""In the order of the tables."""
_WHAT = """\
Each model was trained a little on real rows. Encoders tell by a person's sentence of E2E whether a
restaurant is at the riverside or in the city centre; decoders continue E2E's attributes and
sentence, token by token; the others classify images. E2E's devset trains, rows of its test set are
reported on. The point is that it works, not how well: few rows, few steps, one rate, one seed. A
model "of random weights" has the architecture's shape and nothing learned, and decoders of that
sort read bytes; all others have pretrained weights."""
_HEADS = """\
A head that is trained beside the adapter does a part of the work. How large a part is not shown
here: "no delta" is the loss of the trained head with the delta weights taken away, beside which it
learned, which is no measure of what the head would reach alone. It only tells that the delta is
used."""
_SERVED = """\
Each base was exported by torch's exporter, and the adapter merged as `fourier-convert` does it; the
merged model answered the same rows as torch. In the live graph every other row had the adapter and
the rows between none, in one batch. Errors are relative to the largest logit. Where the graph is
refused, the code of the error stands in place of a number."""
_FOLDED = """\
Convolutional bases were exported with `optimize=False`: otherwise torch's exporter folds batch
normalisations into the convolutions, and the weights of the graph are not those that the adapter
was trained on, which the converter refuses."""


def _rendered(evidence: Evidence) -> list[Block]:
    records = sorted(evidence.of("architectures"), key=_place)
    told = clock(records)
    blocks: list[Block] = [_WHAT, f"{_HEADS} {told.said}", *_missing(evidence)]
    blocks += [_trained(records), _SERVED]
    if any(_SORTS[record.trial["architecture"]] == "convolution" for record in records):
        blocks.append(_FOLDED)
    blocks += [_served(records, told), *_said(records, len(_planned(evidence.size)))]
    return [*blocks, *_aims(evidence)]


def _planned(size_name: str) -> list[str]:
    """Returns the models, by configs/architectures.toml."""
    return [
        _called(
            model["architecture"],
            {"name": model.get("weights"), **model},
            model.get("targets", ()),
        )
        for model in table("architectures", size_name)["models"]
    ]


def _missing(evidence: Evidence) -> list[str]:
    """Returns the planned models that have not run, as a paragraph."""
    seed = table("architectures", evidence.size)["usual"]["seed"]
    ran = [Sweep(_name(r), (), (r,), ()) for r in evidence.of("architectures")]
    return unfinished({name: [seed] for name in _planned(evidence.size)}, ran)


def _place(record: Record) -> tuple[int, str]:
    return list(_SORTS).index(record.trial["architecture"]), record.label


def _name(record: Record) -> str:
    """Returns what a row is called: architecture, weights, and targets that are not the usual."""
    return _called(record.trial["architecture"], record.trial["origin"], record.trial["targets"])


def _called(architecture: str, origin: Json, targets: Sequence[str]) -> str:
    weights = origin.get("name") or f"{origin['layers']} x {origin['width']}, random weights"
    alone = f", {listed(list(targets))} alone" if targets else ""
    return f"{_NAMES[architecture]} ({weights}{alone})"


def _trained(records: Sequence[Record]) -> Table:
    accuracy = UNITS["accuracy"].value
    rows = []
    for record in records:
        found = record.result
        before, after, without = (
            found[name] for name in ("before", "after", "after_without_delta")
        )
        rows.append(
            [
                _name(record), _SORTS[record.trial["architecture"]], count(found["weights"]),
                str(found["targets"]), count(found["parameters"]), count(found["head"]),
                f"{before['loss']:.3f}", f"{after['loss']:.3f}",
                f"{without['loss']:.3f}" if found["head"] else NONE,
                accuracy(before["accuracy"]), accuracy(after["accuracy"]),
            ]
        )  # fmt: skip
    header = (
        "model", "sort", "weights", "targets", "coefficients", "head", "test loss before", "after",
        "after, no delta", "accuracy before (%)", "after (%)",
    )  # fmt: skip
    return Table(header, rows)


def _served(records: Sequence[Record], told: Clock) -> Table:
    rows = []
    for record in records:
        found = record.result
        rows.append(
            [
                _name(record), size(found["file_bytes"]), size(found["base_bytes"]),
                count(found["merged"]["answers"]), f"{found['merged']['relative_error']:.1e}",
                _differing(found["merged"]), *_live(found["live"]),
                seconds(sum(each[told.field] for each in found["history"])),
            ]
        )  # fmt: skip
    header = (
        "model", ".fft", "base", "answers", "merged: error", "classes that differ",
        "live: error, adapted rows", "rows of the base", "classes that differ",
        told.header,
    )  # fmt: skip
    return Table(header, rows)


def _live(found: Json) -> list[str]:
    if "refused" in found:
        return [f"refused: {listed(list(dict.fromkeys(found['refused'])))}", NONE, NONE]
    both = [found["adapted"], found["base"]]
    errors = [f"{each['relative_error']:.1e}" for each in both]
    return [*errors, _differing(*both)]


def _differing(*found: Json) -> str:
    """Returns each class that differs, with its margin and its row."""
    every = [one for each in found for one in each["differing"]]
    if not every:
        return "0"
    shown = ", ".join(
        f"{one['margin']:.1e} (row {one['id']}"
        + (f", token {one['token']})" if "token" in one else ")")
        for one in every
    )
    return f"{len(every)}: {shown}"


def _said(records: Sequence[Record], planned: int) -> list[Block]:
    """What fell, what did not, and what is not served live."""
    fell = [r for r in records if r.result["after"]["loss"] < r.result["before"]["loss"]]
    models = f"{len(records)} models"
    models += f" that have run, of {planned}" if len(records) < planned else ""
    lines = [f"- The test loss fell in {len(fell)} of {models}."]
    rose = [_name(record) for record in records if record not in fell]
    if rose:
        lines.append(f"- It did not fall in {listed(rose)}.")
    helped = [
        r for r in records if r.result["after"]["loss"] < r.result["after_without_delta"]["loss"]
    ]
    lines.append(
        f"- Taking the delta weights away raises it again in {len(helped)} of {len(records)}."
    )
    refused = [_name(record) for record in records if "refused" in record.result["live"]]
    if refused:
        lines.append(f"- Served merged, and refused as a live graph: {listed(refused)}.")
    return ["\n".join(lines)]


def _aims(evidence: Evidence) -> list[Aim]:
    """Of every planned model: it trains, it is served live, and ONNX Runtime answers as torch."""
    records, planned = evidence.of("architectures"), _planned(evidence.size)
    missing = [name for name in planned if name not in {_name(record) for record in records}]
    risen = [_name(r) for r in records if r.result["after"]["loss"] >= r.result["before"]["loss"]]
    refused = [_name(record) for record in records if "refused" in record.result["live"]]
    compared = [found for record in records for found in _comparisons(record.result)]
    return [
        _of_all("trains in each", "the test loss falls", risen, missing, len(planned)),
        _of_all("served live in each", "the live graph is made", refused, missing, len(planned)),
        served_aim(
            "classes in ONNX Runtime against torch, merged and live",
            compared,
            len(compared) + len(missing),
        ),
    ]


def _of_all(
    what: str, aim: str, not_so: Sequence[str], missing: Sequence[str], planned: int
) -> Aim:
    """Returns the aim that something holds of every planned model; all others are named."""
    text = f"{planned - len(missing) - len(not_so)} of {planned}"
    text += f"; not {listed(list(not_so))}" if not_so else ""
    text += f"; {len(missing)} have not run" if missing else ""
    return Aim(what, aim, text, False if not_so else None if missing else True)


def _comparisons(result: Json) -> list[Json]:
    live = (
        [] if "refused" in result["live"] else [result["live"]["adapted"], result["live"]["base"]]
    )
    return [result["merged"], *live]


SECTION = Section(
    "architectures",
    "Architectures",
    "Does FourierFT train, convert and serve in encoders, decoders, Vision Transformers and "
    "convolutional networks?",
    _rendered,
    _aims,
)
