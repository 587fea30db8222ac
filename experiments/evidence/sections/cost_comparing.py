"""What the parts of the cost section share: what is compared, and how ratios are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from experiments.cost.points import Ratios
from experiments.evidence.blocks import Table
from experiments.evidence.formatting import NONE, listed
from experiments.records import Record
from experiments.trial import Json

RANK = 8
"""Of the LoRA that everything is compared with."""
N = 1000
"""Of the FourierFT that is compared with it: the paper's."""
_PLACES = 8  # that a sentence names; more are counted


def middle(values: Sequence[int]) -> int:
    """Returns the middle one."""
    return sorted(values)[len(values) // 2]


def usual(records: Sequence[Record]) -> int:
    """Returns the paper's n, where it was measured."""
    sizes = records[0].trial["sizes"]
    return N if N in sizes else middle(sizes)


def cell(found: Ratios) -> str:
    """Returns the median of the rounds, and the least and the most: "1.02 (0.98 to 1.10)"."""
    return f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})"


def told(found: Mapping[str, Ratios]) -> str:
    """Says where the first is the faster; only where all rounds agree."""
    by_verdict: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for place, own in found.items():
        by_verdict[own.faster].append(place)
    words = (
        (True, "faster in every round"),
        (False, "slower in every round"),
        (None, "the rounds disagree, so it cannot be told"),
    )
    parts = [f"{text}: {_places(by_verdict[key])}" for key, text in words if by_verdict[key]]
    return f"Of {len(found)}: {'; '.join(parts)}."


def _places(places: list[str]) -> str:
    return listed(places) if len(places) <= _PLACES else f"{len(places)} of them"


def by_size(
    first: str, rows: Sequence[tuple[str, Json]], wanted: Sequence[tuple[str, str, int]],
    told_as: Callable[[Json, str, int], str | None],
) -> Table:  # fmt: skip
    """Returns a table with a column for each n and rank.

    Args:
        first: The header of the first column.
        rows: What a row is called, and what is measured there.
        wanted: Of each column its name, kind and size.
        told_as: Measured, kind and size -> the cell; None where it was not measured.
    """
    header = (first, *(f"{name} = {size}" for name, _, size in wanted))
    cells = [
        [name, *(told_as(measured, kind, size) or NONE for _, kind, size in wanted)]
        for name, measured in rows
    ]
    return Table(header, cells)


def columns(record: Record) -> list[tuple[str, str, int]]:
    """Returns name, kind and size of each n and each rank of a trial."""
    ours = [("FourierFT n", "fourier", n) for n in record.trial["sizes"]]
    return [*ours, *(("LoRA r", "lora", rank) for rank in record.trial["ranks"])]
