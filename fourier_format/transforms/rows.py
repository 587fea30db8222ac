"""What every transform gives: rows of a delta weight when asked, and the factors of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Array
from fourier_format.threads import by_blocks, is_shared

Shape = tuple[int, int]

BLOCK: Final = 32
"""Output rows at a time: what is transformed for so many, and the rows, stay in the cache."""

PARALLEL_SIZE: Final = 2**19
"""Cells from which threads repay their start."""


class Rows(Protocol):
    """A delta weight of which rows are computed when they are asked for, by any thread."""

    @property
    def shape(self) -> Shape:
        """The (out, in) of the delta weight."""

    @property
    def norm(self) -> float:
        """The Frobenius norm, known without computing a row."""

    def __call__(self, start: int, stop: int) -> Array:
        """Returns the rows from `start` to before `stop`, (b, in)."""


class Factors(NamedTuple):
    """Real factors of every delta weight with the same entries, float32.

    delta = alpha / cells * out @ diag(concatenate([s * c for s in signs])) @ in_.T

    Attributes:
        out: (out, r n), r = len(signs).
        in_: (in, r n).
        signs: +1 or -1 for each of the r terms of an entry.
        cells: out * in where the transform divides by it, else 1.
    """

    out: Array
    in_: Array
    signs: tuple[int, ...]
    cells: int


class Transform(NamedTuple):
    """A transform by what can be computed of it.

    Attributes:
        rows: From entries (n, 2), coefficients (n,), shape, alpha and float32 or float64.
        norms: Frobenius norms at alpha = 1, (L,) float64, from entries, coefficients (L, n), shape.
        factors: From entries and shape.
        terms: The number of products of one column and one row that an entry's part is.
    """

    rows: Callable[[Array, Array, Shape, float, npt.DTypeLike], Rows]
    norms: Callable[[Array, Array, Shape], Array]
    factors: Callable[[Array, Shape], Factors]
    terms: int


def whole(rows: Rows, dtype: npt.DTypeLike) -> Array:
    """Returns all rows, (out, in)."""
    delta = np.empty(rows.shape, dtype)

    def fill(start: int, stop: int) -> None:
        delta[start:stop] = rows(start, stop)

    by_blocks(fill, rows.shape[0], BLOCK, parallel=workers(rows.shape) != 1)
    return delta  # (out, in)


def workers(shape: Shape) -> int:
    """Returns how many threads SciPy shall take: all, or one where that is faster."""
    return -1 if shape[0] * shape[1] >= PARALLEL_SIZE and not is_shared() else 1
