"""Trainings epoch by epoch: FourierFT and LoRA with as many parameters, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import FOURIER, LORA, Block, Figure, Line, Panel, Table
from experiments.evidence.formatting import count
from experiments.evidence.trainings import Group, called, unit

KINDS = {"fourier": ("FourierFT", FOURIER), "lora": ("LoRA", LORA)}
"""Kind of method -> its name and colour."""
_CURVES = "Lines are means over seeds, bands reach from the lowest seed to the highest."


def pairs(size: str, task: str, matched: Sequence[tuple[Group, Group]]) -> list[Block]:
    """Returns pictures and table of the loss and the choosing split's metric."""
    if not matched:
        return []
    blocks: list[Block] = [_CURVES]
    wanted = {
        "loss": ("training loss", 1.0),
        "choose": (unit(task).on("choosing split"), unit(task).factor),
    }
    for name, (label, factor) in wanted.items():
        panels = [
            Panel(
                f"{count(ours.parameters)} parameters",
                "epoch",
                label,
                [_line(group, name, factor) for group in (ours, theirs)],
            )
            for ours, theirs in matched
        ]
        alt = f"{called(task)}, {label} by epoch: FourierFT and LoRA with as many parameters."
        blocks.append(Figure(f"curves-{size}-{task}-{name}", alt, panels, columns=2))
    return [*blocks, _rows_of_curves(task, matched)]


def _line(group: Group, name: str, factor: float) -> Line:
    found = factor * group.history(name)  # (seeds, epochs)
    return Line(
        KINDS[group.method["kind"]][0],
        [float(epoch + 1) for epoch in range(found.shape[1])],
        found.mean(0).tolist(),
        found.min(0).tolist(),
        found.max(0).tolist(),
        KINDS[group.method["kind"]][1],
    )


def _rows_of_curves(task: str, matched: Sequence[tuple[Group, Group]]) -> Table:
    """Ends of the curves: whether training had come to rest."""
    rows = []
    for group in (group for pair in matched for group in pair):
        loss, means = group.history("loss").mean(0), group.history("choose").mean(0)
        rows.append(
            [
                group.name, f"{loss[0]:.3f}", f"{loss[-1]:.3f}", unit(task).value(means[0]),
                unit(task).value(means.max()), unit(task).value(means[-1]),
                f"{int(means.argmax()) + 1} of {len(means)}",
            ]
        )  # fmt: skip
    header = (
        "means over seeds", "loss, first epoch", "loss, last", "choosing, first epoch",
        "choosing, best", "choosing, last", "best epoch of the mean",
    )  # fmt: skip
    return Table(header, rows)
