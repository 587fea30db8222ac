"""ONNX Runtime's answers beside torch's, of every FourierFT adapter that was served."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.formatting import NONE, count, power, significant
from experiments.evidence.limits import Name
from experiments.evidence.trainings import Group, called, unit
from experiments.fixed import MARGIN
from experiments.records import Record
from experiments.text.tasks import TASKS
from experiments.trial import Json

_CORRELATION = 1e-6
_TEXT = f"""\
Each FourierFT adapter of this table was written as `.fft`, merged into the exported base, and
answered the whole reporting split in ONNX Runtime. A class may differ where torch's leads by less
than {power(MARGIN)}."""


def blocks(
    size_name: str, found: Sequence[Group], name: Name = lambda group: group.name
) -> list[Block]:
    """Returns the table of every served run, what differs, and an aim for each task."""
    served = [(group, run) for group in found for run in group.runs if "onnxruntime" in run.result]
    made: list[Block] = [f"#### ONNX Runtime against torch ({size_name})"]
    if not served:
        return [*made, "Not run here: no trial was served in ONNX Runtime."]
    header = (
        "task", "adapter", "seed", "examples", "classes that differ", "their margins",
        f"margins below {power(MARGIN)}", "largest logit difference", "largest logit",
        "metric, difference",
    )  # fmt: skip
    rows = [_row(group, run, name) for group, run in served]
    tasks = list(dict.fromkeys(group.task for group, _ in served))
    aims = [_aim(task, [run for group, run in served if group.task == task]) for task in tasks]
    return [*made, _TEXT, Table(header, rows), *aims]


def served_aim(
    what: str, found: Sequence[Json], aim: str = f"equal, or at a margin below {power(MARGIN)}"
) -> Aim:
    """Returns the aim that answers are equal but where torch's own leads by less than MARGIN.

    Args:
        what: Which answers.
        found: Comparisons: how many "answers" (or "rows") each has, and the "margin" of each of
            its "differing".
        aim: In words.
    """
    margins = [one["margin"] for each in found for one in each["differing"]]
    total = sum(each["answers"] if "answers" in each else each["rows"] for each in found)
    text = f"{len(margins)} of {count(total)} answers differ"
    if margins:
        text += f", at margins of at most {max(margins):.1e}"
    return Aim(what, aim, text, all(margin < MARGIN for margin in margins))


def _row(group: Group, run: Record, name: Name) -> list[str]:
    found = run.result["onnxruntime"]
    differing = found.get("differing")
    listed = [f"{each['margin']:.1e} (row {each['id']})" for each in differing or ()]
    of_classes = [NONE, NONE, NONE, NONE]
    if differing is not None:
        below = count(found["margins_below"])
        of_classes = [count(found["rows"]), str(len(differing)), ", ".join(listed) or NONE, below]
    return [
        called(group.task),
        name(group),
        str(run.trial["seed"]),
        *of_classes,
        f"{found['largest_difference']:.1e}",
        significant(found["largest_logit"]),
        f"{_metric_difference(group.task, run):.1e}",
    ]


def _metric_difference(task: str, run: Record) -> float:
    found = run.result["onnxruntime"]
    return abs(float(found[TASKS[task].metric]) - float(found["torch"]))


def _aim(task: str, runs: Sequence[Record]) -> Aim:
    if TASKS[task].classes == 0:
        largest = max(_metric_difference(task, run) for run in runs)
        what = f"{called(task)}, {unit(task).metric} in ONNX Runtime against torch"
        return Aim(
            what, f"within {power(_CORRELATION)}", f"{largest:.1e} at most", largest <= _CORRELATION
        )
    what = f"{called(task)}, classes in ONNX Runtime against torch"
    return served_aim(what, [run.result["onnxruntime"] for run in runs])
