"""ONNX Runtime's answers beside torch's, of decoders: token for token."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.formatting import NONE, count, power, seconds
from experiments.evidence.served import served_aim
from experiments.evidence.trainings import method_name
from experiments.fixed import MARGIN
from experiments.records import Record
from experiments.trial import Json

_GENERATED = """\
Each answer was generated twice, greedily: by torch, with the adapter merged in memory, and by
onnxruntime-genai from the model that the converter wrote. LoRA's are torch's alone: it is no
source of the converter."""
_REREAD = """\
onnxruntime-genai's builder does not know this model. So the converted model read each of torch's
answers in ONNX Runtime, in one pass: the likeliest next token of every place must be torch's."""


def blocks(records: Sequence[Record]) -> list[Block]:
    """Returns the table of every served run, each difference with its margin."""
    served = [found for found in records if "onnxruntime" in found.result]
    if not served:
        return ["Not run here: no model was served in ONNX Runtime."]
    runtimes = {found.result["onnxruntime"]["runtime"] for found in served}
    text = _GENERATED if runtimes == {"onnxruntime-genai"} else _REREAD
    header = (
        "model", "seed", "answers", "tokens", "answers that differ", "first differences",
        f"of all, led by less than {power(MARGIN)}", "converted in", "answered in",
    )  # fmt: skip
    text += (
        " Of a difference the row gives the margin by which torch's token leads where the answers "
        f"part; one below {power(MARGIN)} may fall either way. Seconds are wall time on a machine "
        "that other work shared: they tell the order of size alone."
    )
    return [text, Table(header, [_row(found) for found in served])]


def aim(records: Sequence[Record], planned: int) -> Aim:
    """Returns the aim that both runtimes say the same, of all `planned` models that are served."""
    return served_aim(
        "answers in ONNX Runtime against torch",
        [found.result["onnxruntime"] for found in records if "onnxruntime" in found.result],
        planned,
        f"token for token, or the first difference at a margin below {power(MARGIN)}",
    )


def name_of(found: Record) -> str:
    """Returns the method's name, or "untuned"."""
    return called(found.trial["method"], found.trial.get("bits", 32), found.trial["model"])


def called(method: Json | None, bits: int, model: str) -> str:
    """Returns the name of a method on a base; None is no method."""
    base = "" if bits == 32 else f", {bits}-bit base"
    drawn = ", random weights: cost alone" if model.startswith("random") else ""
    return "untuned" if method is None else f"{method_name(method)}{base}{drawn}"


def _row(found: Record) -> list[str]:
    ours = found.result["onnxruntime"]
    listed = [
        f"{each['margin']:.1e} (id {each['id']}, token {each['token']})"
        for each in ours["differing"]
    ]
    untuned = found.trial["method"] is None
    merged = ", trained on NF4, merged into and served on float32"
    return [
        name_of(found).replace(", 4-bit base", merged),
        NONE if untuned else str(found.trial["seed"]),
        count(ours["answers"]),
        count(ours["tokens"]),
        count(len(listed)),
        ", ".join(listed) or NONE,
        count(ours["margins_below"]),
        NONE if untuned else seconds(ours["convert_seconds"]),
        seconds(ours["seconds"]),
    ]
