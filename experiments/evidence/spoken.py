"""ONNX Runtime's answers beside torch's, of decoders: token for token."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.formatting import NONE, count, power, seconds
from experiments.evidence.served import served_aim
from experiments.evidence.trainings import method_name
from experiments.fixed import MARGIN
from experiments.records import Record

_GENERATED = """\
Each answer was generated twice, greedily: by torch, with the adapter merged in memory, and by
onnxruntime-genai from the model that the converter wrote. LoRA's are torch's alone: it is no
source of the converter."""
_REREAD = """\
onnxruntime-genai's builder does not know this model. So the converted model read each of torch's
answers in ONNX Runtime, in one pass: the likeliest next token of every place must be torch's."""


def blocks(records: Sequence[Record]) -> list[Block]:
    """Returns the table of every served run, each difference with its margin, and the aim."""
    served = [found for found in records if "onnxruntime" in found.result]
    if not served:
        return ["Not run here: no model was served in ONNX Runtime."]
    runtimes = {found.result["onnxruntime"]["runtime"] for found in served}
    text = _GENERATED if runtimes == {"onnxruntime-genai"} else _REREAD
    header = (
        "model", "seed", "answers", "tokens", "answers that differ", "first differences",
        "margins below 1e-4", "converted in", "answered in",
    )  # fmt: skip
    text += (
        " Of a difference the row gives the margin by which torch's token leads where the answers "
        "part; one below 1e-4 may fall either way."
    )
    return [text, Table(header, [_row(found) for found in served]), _aim(served)]


def name_of(found: Record) -> str:
    """Returns the method's name, or "untuned"."""
    method = found.trial["method"]
    bits = found.trial.get("bits", 32)
    base = "" if bits == 32 else f", {bits}-bit base"
    drawn = ", random weights: cost alone" if found.trial["model"].startswith("random") else ""
    return "untuned" if method is None else f"{method_name(method)}{base}{drawn}"


def step_seconds(runs: Sequence[Record]) -> float:
    """Returns the time of a step, a mean over all of `runs`: the processor's, on a GPU the wall's.

    Of the processor it is the time of all threads.
    """
    clock = "cpu_seconds" if runs[0].environment["device"] == "cpu" else "seconds"
    epochs = [epoch for run in runs for epoch in run.result["history"]]
    return float(
        sum(each[clock] for each in epochs) / max(1, sum(each["steps"] for each in epochs))
    )


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


def _aim(served: Sequence[Record]) -> Aim:
    return served_aim(
        "answers in ONNX Runtime against torch",
        [found.result["onnxruntime"] for found in served],
        f"token for token, or the first difference at a margin below {power(MARGIN)}",
    )
