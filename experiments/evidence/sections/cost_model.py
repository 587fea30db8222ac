"""The part of the cost section about the model: its units, its errors, what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost.model import Study
from experiments.evidence.blocks import Block, Table
from experiments.evidence.formatting import listed, significant
from experiments.evidence.sections import cost_crossings
from experiments.evidence.sections.cost_comparing import RANK
from experiments.records import Record

GOOD = 0.15
"""The median relative error up to which a model is said to explain a kind."""
BAD = 0.5
"""The worst relative error from which points are said not to be explained."""
_MODEL = (
    "Work is counted (experiments/cost/work.py: products of t d^2, of t d r, numbers through an "
    "FFT times log2 d, 2 n t numbers of each sum, numbers moved, a call for each part), and the "
    "time of a unit fitted: least squares of relative errors, none below 0. The path that the "
    "trainer chooses (auto) is predicted, not fitted."
)


def training(found: Study, steps: Sequence[Record], n: int) -> list[Block]:
    """Returns the model of forward and backward: units, errors, crossing points."""
    return [
        "#### The model of forward and backward",
        _MODEL,
        units(found),
        errors(found),
        explained(found),
        *cost_crossings.crossing_points(found, steps, n, RANK, poorly(found)),
    ]


def units(found: Study, of: str = "ns") -> Table:
    """Returns what one of each unit takes: nanoseconds, with their inverse, or bytes.

    The inverse is a speed where the unit is work, such as a multiply-add or a number moved; of a
    call ("base", "lora", "weight", ...) it says nothing.
    """
    if of == "bytes":
        held = [[unit, significant(number)] for unit, number in found.costs.items()]
        return Table(("unit", "bytes"), held)
    rows = [
        [unit, significant(1e9 * cost), significant(1e-9 / cost) if cost else "-"]
        for unit, cost in found.costs.items()
    ]
    return Table(("unit", "ns", "10^9 a second"), rows)


def errors(found: Study) -> Table:
    """Returns relative errors by kind, of the fit and of widths that were left out of it."""
    rows = []
    for kind, inside in found.inside.items():
        row = [
            kind,
            str(inside.count),
            *(f"{100 * v:.0f} %" for v in (inside.median, inside.worst)),
        ]
        outside = found.outside.get(kind)
        left = ["-", "-"]
        if outside is not None:
            left = [f"{100 * v:.0f} %" for v in (outside.median, outside.worst)]
        rows.append([*row, *left])
    header = ("", "points", "median error", "worst", "median, width left out", "worst, left out")
    return Table(header, rows)


def explained(found: Study) -> str:
    """Says what the model explains, by its errors at widths that were left out."""
    tested = found.outside or found.inside
    poor = poorly(found)
    off = [kind for kind, of in tested.items() if of.worst > BAD]
    good = [kind for kind in tested if kind not in poor]
    where = (
        "at a width that the fit has not seen"
        if found.outside
        else "of the fit to the one width there is, which says nothing about others"
    )
    parts = []
    if good:
        parts.append(
            f"Half of the points are within {100 * GOOD:.0f} % {where}, for {listed(good)}."
        )
    if poor:
        parts.append(
            f"It does not explain {listed(poor)}: the median error {where} is larger than "
            f"{100 * GOOD:.0f} %."
        )
    if off:
        parts.append(f"Single points are off by more than {100 * BAD:.0f} %: {listed(off)}.")
    return " ".join(parts)


def poorly(found: Study) -> list[str]:
    """Returns the kinds that the model does not explain."""
    tested = found.outside or found.inside
    return [kind for kind, of in tested.items() if of.median > GOOD]
