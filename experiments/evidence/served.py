"""ONNX Runtime's answers beside torch's, of every adapter that reported."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.formatting import NONE, count, significant
from experiments.evidence.trainings import Group, called, unit
from experiments.records import Record
from experiments.text.tasks import TASKS

_MARGIN = 1e-4
_CORRELATION = 1e-6
_TEXT = """\
Each adapter that reported was written as `.fft`, merged into the exported base, and answered the
whole reporting split in ONNX Runtime. A class may differ where torch's leads by less than 1e-4."""


def blocks(size_name: str, found: Sequence[Group]) -> list[Block]:
    """Returns the table of every served run, what differs, and the aims."""
    served = [
        (group, [run for run in group.runs if "onnxruntime" in run.result]) for group in found
    ]
    served = [(group, runs) for group, runs in served if runs]
    made: list[Block] = [f"#### ONNX Runtime against torch ({size_name})"]
    if not served:
        return [*made, "Not run here: no trial was served in ONNX Runtime."]
    header = (
        "task", "seed", "examples", "classes that differ", "their margins", "margins below 1e-4",
        "largest logit difference", "largest logit", "metric, difference",
    )  # fmt: skip
    rows = [_row(group, run) for group, runs in served for run in runs]
    return [*made, _TEXT, Table(header, rows), *(_aim(group, runs) for group, runs in served)]


def _row(group: Group, run: Record) -> list[str]:
    found = run.result["onnxruntime"]
    differing = found.get("differing")
    listed = [f"{each['margin']:.1e} (row {each['id']})" for each in differing or ()]
    of_classes = [NONE, NONE, NONE, NONE]
    if differing is not None:
        below = count(found["margins_below"])
        of_classes = [count(found["rows"]), str(len(differing)), ", ".join(listed) or NONE, below]
    return [
        called(group.task),
        str(run.trial["seed"]),
        *of_classes,
        f"{found['largest_difference']:.1e}",
        significant(found["largest_logit"]),
        f"{_metric_difference(group, run):.1e}",
    ]


def _metric_difference(group: Group, run: Record) -> float:
    found = run.result["onnxruntime"]
    return abs(float(found[TASKS[group.task].metric]) - float(found["torch"]))


def _aim(group: Group, runs: Sequence[Record]) -> Aim:
    if TASKS[group.task].classes == 0:
        largest = max(_metric_difference(group, run) for run in runs)
        what = f"{called(group.task)}, {unit(group.task).metric} in ONNX Runtime against torch"
        return Aim(what, "within 1e-6", f"{largest:.1e} at most", largest <= _CORRELATION)
    margins = [each["margin"] for run in runs for each in run.result["onnxruntime"]["differing"]]
    total = sum(run.result["onnxruntime"]["rows"] for run in runs)
    text = f"{len(margins)} of {count(total)} answers differ"
    if margins:
        text += f", at margins of at most {max(margins):.1e}"
    what = f"{called(group.task)}, classes in ONNX Runtime against torch"
    return Aim(what, "equal, or at a margin below 1e-4", text, all(m < _MARGIN for m in margins))
