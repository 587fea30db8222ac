"""Which adapter each row of a batch asks for, as written by the caller, made plain.

A **blend** is what one row asks for: names with weights, () for the base alone. Equal blends are
gathered once; a batch in which all rows ask for one blend feeds it once, and the graph spreads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from fourier_format.adapter import Array
from fourier_format.errors import UsageError, Violation

Row: TypeAlias = str | Mapping[str, float] | None
"""What a caller writes for one row: a name, names with weights, or None for the base."""

Asked: TypeAlias = Row | Sequence[Row]
"""What a caller writes for a batch: one thing for all rows, or a list with one for each."""

Blend: TypeAlias = tuple[tuple[str, float], ...]
"""What one row asks for: (name, weight) pairs without zero weights, sorted by name."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a batch asks for.

    Attributes:
        blends: The distinct blends, in the order in which rows first ask for them.
        index: Of each row, its place in `blends`; one entry alone where it holds for all rows.
        listed: How many rows the caller listed; None where one thing was asked for all rows.
    """

    blends: tuple[Blend, ...]
    index: tuple[int, ...]
    listed: int | None

    @property
    def plain(self) -> bool:
        """Whether no row has an adapter."""
        return not any(self.blends)

    @property
    def names(self) -> list[str]:
        """The names that are asked for, each once."""
        return list(dict.fromkeys(name for blend in self.blends for name, _ in blend))

    @property
    def single(self) -> str | None:
        """The one adapter that all rows have in full, else None."""
        if len(self.blends) == 1 and len(self.blends[0]) == 1:
            ((name, weight),) = self.blends[0]
            return name if weight == 1.0 else None
        return None

    @property
    def indices(self) -> Array:
        """(rows,) int64, as `index`."""
        return np.array(self.index, np.int64)


def parsed(asked: Asked) -> Rows:
    """Returns what `asked` means.

    Raises:
        UsageError: E-USAGE: it is of another type, or a weight is not a finite number.
    """
    if asked is None or isinstance(asked, str | Mapping):
        return Rows((_blend(asked),), (0,), None)
    if not isinstance(asked, Sequence):
        raise _unusable("adapters", asked)
    places: dict[Blend, int] = {}
    index = []
    for row, one in enumerate(asked):
        blend = () if one is None else _blend(one, f"adapters[{row}]")
        index.append(places.setdefault(blend, len(places)))
    if len(places) == 1:
        index = [0]
    return Rows(tuple(places), tuple(index), len(asked))


def _blend(asked: Any, where: str = "adapters") -> Blend:
    if asked is None:
        return ()
    if isinstance(asked, str):
        return ((asked, 1.0),)
    if not isinstance(asked, Mapping):
        raise _unusable(where, asked)
    weights: dict[str, float] = {}
    for name, weight in asked.items():
        if not isinstance(name, str):
            raise _unusable(where, name)
        if not isinstance(weight, Real) or not math.isfinite(weight):
            problem = f"the weight of {name!r} is not a finite number"
            raise UsageError(Violation("E-USAGE", where, problem, repr(weight)[:40]))
        if weight:
            weights[name] = float(weight)
    return tuple(sorted(weights.items()))


def _unusable(where: str, asked: Any) -> UsageError:
    problem = "this asks for no adapter"
    expected = "a name, None, {name: weight}, or a list with one of these for each row"
    return UsageError(Violation("E-USAGE", where, problem, type(asked).__name__, expected))
