"""The part of the cost section about the model: its units, its errors, what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cost import crossings
from experiments.cost.model import Study
from experiments.evidence.blocks import Block, Table
from experiments.evidence.formatting import count, listed, significant
from experiments.records import Record

GOOD = 0.15
"""The median relative error up to which a model is said to explain a kind."""
BAD = 0.5
"""The worst relative error from which points are said not to be explained."""
_NEVER = "never"
_MODEL = (
    "Work is counted (experiments/cost/work.py: products of t d^2, of t d r, numbers through an "
    "FFT times log2 d, 2 n t numbers of each sum, numbers moved, a call for each part), and the "
    "time of a unit fitted: least squares of relative errors, none below 0. The path that the "
    "trainer chooses (auto) is predicted, not fitted."
)


def training(found: Study, steps: Sequence[Record], n: int, rank: int) -> list[Block]:
    """Returns the model of a training step: units, errors, crossing points."""
    return [
        "#### The model of a step",
        _MODEL,
        units(found),
        errors(found),
        explained(found),
        *_crossings(found, steps, n, rank),
    ]


def units(found: Study) -> Table:
    """Returns what each unit takes; the speed of those that are no calls."""
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
    poor = [kind for kind, of in tested.items() if of.median > GOOD]
    off = [kind for kind, of in tested.items() if of.worst > BAD]
    good = [kind for kind in tested if kind not in poor]
    parts = []
    if good:
        parts.append(
            f"Half of the points are within {100 * GOOD:.0f} % at a width that the fit has not "
            f"seen, for {listed(good)}."
        )
    if poor:
        parts.append(f"It does not explain {listed(poor)}: the median error is larger than that.")
    if off:
        parts.append(f"Single points are off by more than {100 * BAD:.0f} %: {listed(off)}.")
    return " ".join(parts)


def _crossings(found: Study, steps: Sequence[Record], n: int, rank: int) -> list[Block]:
    tokens = sorted({step.trial["tokens"] for step in steps})
    sizes = steps[0].trial["sizes"]
    widths = sorted({step.trial["width"] for step in steps})
    from_width = [
        [
            f"n = {count(size)}",
            *(_or_never(crossings.width_from(t, size, rank, found.costs)) for t in tokens),
        ]
        for size in sizes
    ]
    from_rank = [
        [
            str(width),
            *(_or_never(crossings.rank_from(width, t, n, found.costs)) for t in tokens),
        ]
        for width in widths
    ]
    header = [f"{count(t)} tokens" for t in tokens]
    never = sum(row[1:].count(_NEVER) for row in from_width)
    cells = len(sizes) * len(tokens)
    asked = (
        f"From which width on FourierFT's step is no dearer than that of LoRA r = {rank}, by the "
        f"model, on its cheaper path; asked up to {count(crossings.LARGEST)}, beyond "
        f"{count(widths[-1])} by extrapolation:"
    )
    return [
        asked,
        Table(["", *header], from_width),
        f"By the model it never is in {never} of {cells} cases."
        if never
        else "By the model there is such a width in every case.",
        f"From which rank on a LoRA's step costs what FourierFT n = {count(n)} does:",
        Table(["width", *header], from_rank),
    ]


def _or_never(found: int | None) -> str:
    return _NEVER if found is None else count(found)
