"""ONNX Runtime's answers beside torch's, of every FourierFT adapter that was served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.formatting import NONE, count, power, significant
from experiments.evidence.limits import Name, by_name
from experiments.evidence.trainings import Group, called, groups, unit
from experiments.fixed import MARGIN
from experiments.records import Record
from experiments.text.tasks import TASKS
from experiments.trial import Json

_CORRELATION = 1e-6
_TEXT = f"""\
Each FourierFT adapter of this table was written as `.fft`, merged into the exported base, and
answered the whole reporting split in ONNX Runtime. A class may differ where torch's leads by less
than {power(MARGIN)}."""


def blocks(size_name: str, found: Sequence[Group], name: Name = by_name) -> list[Block]:
    """Returns the table of every served run, and what differs."""
    return named_blocks(size_name, [(name(group), group) for group in found])


def named_blocks(size_name: str, found: Sequence[tuple[str, Group]]) -> list[Block]:
    """Returns the table of every served run, each group with what it is called."""
    served = [(name, group, run) for name, group in found for run in _served(group)]
    made: list[Block] = [f"#### ONNX Runtime against torch ({size_name})"]
    if not served:
        return [*made, "Not run here: no trial was served in ONNX Runtime."]
    header = (
        "task", "adapter", "seed", "examples", "classes that differ", "their margins",
        f"of all, led by less than {power(MARGIN)}", "largest logit difference", "largest logit",
        "metric, difference",
    )  # fmt: skip
    return [*made, _TEXT, Table(header, [_row(*each) for each in served])]


def aims(records: Sequence[Record], tasks: Iterable[str], planned: int) -> list[Aim]:
    """Returns an aim for each planned task: `planned` runs of it are to be served."""
    found = groups(records)
    return [
        _aim(task, [run for group in found if group.task == task for run in _served(group)],
             planned)
        for task in tasks
    ]  # fmt: skip


def served_aim(
    what: str,
    found: Sequence[Json],
    planned: int,
    aim: str = f"equal, or at a margin below {power(MARGIN)}",
) -> Aim:
    """Returns the aim that answers are equal but where torch's own leads by less than MARGIN.

    Args:
        what: Which answers.
        found: Comparisons: how many "answers" (or "rows") each has, and the "margin" of each of
            its "differing".
        planned: How many comparisons there are to be.
        aim: In words.
    """
    if not found:
        return Aim(what, aim, "none was served", None)
    margins = [one["margin"] for each in found for one in each["differing"]]
    total = sum(each["answers"] if "answers" in each else each["rows"] for each in found)
    text = f"{len(margins)} of {count(total)} answers differ"
    if margins:
        text += f", at margins of at most {max(margins):.1e}"
    return _of_planned(
        Aim(what, aim, text, all(margin < MARGIN for margin in margins)), len(found), planned
    )


def _of_planned(aim: Aim, found: int, planned: int) -> Aim:
    """Returns the aim, which is not reached before all that is planned has been served."""
    if found >= planned:
        return aim
    text = f"{aim.found}; {found} of {planned} served"
    return Aim(aim.what, aim.aim, text, None if aim.reached else aim.reached)


def _served(group: Group) -> list[Record]:
    return [run for run in group.runs if "onnxruntime" in run.result]


def _row(name: str, group: Group, run: Record) -> list[str]:
    found = run.result["onnxruntime"]
    differing = found.get("differing")
    listed = [f"{each['margin']:.1e} (row {each['id']})" for each in differing or ()]
    of_classes = [NONE, NONE, NONE, NONE]
    if differing is not None:
        below = count(found["margins_below"])
        of_classes = [count(found["rows"]), str(len(differing)), ", ".join(listed) or NONE, below]
    return [
        called(group.task),
        name,
        str(run.trial["seed"]),
        *of_classes,
        f"{found['largest_difference']:.1e}",
        significant(found["largest_logit"]),
        f"{_metric_difference(group.task, run):.1e}",
    ]


def _metric_difference(task: str, run: Record) -> float:
    found = run.result["onnxruntime"]
    return abs(float(found[TASKS[task].metric]) - float(found["torch"]))


def _aim(task: str, runs: Sequence[Record], planned: int) -> Aim:
    if TASKS[task].classes:
        what = f"{called(task)}, classes in ONNX Runtime against torch"
        return served_aim(what, [run.result["onnxruntime"] for run in runs], planned)
    what = f"{called(task)}, {unit(task).metric} in ONNX Runtime against torch"
    within = f"within {power(_CORRELATION)}"
    if not runs:
        return Aim(what, within, "none was served", None)
    largest = max(_metric_difference(task, run) for run in runs)
    found = Aim(what, within, f"{largest:.1e} at most", largest <= _CORRELATION)
    return _of_planned(found, len(runs), planned)
