"""A basis: what all delta weights with the same entries share, on whatever device it is needed.

It is no module and holds no parameters: a model that is moved, copied, saved, sharded or made on
the meta device has nothing here that could be lost or go wrong.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fourier_format.adapter import Array, read_only
from fourier_format.spectral.routes import Routes, routes
from fourier_trainers.torch.spectral.axes import applied


class Direction(NamedTuple):
    """M, or its transpose, as sums of weighted rows of a table: what `embedding_bag` takes.

    Attributes:
        source: (s n,) int64, the row of the table that is read, sorted by where it goes.
        offsets: (r,) int64, where in `source` the rows that go to one row begin.
        bags: (s n,) int64, the row it goes to.
        entry: (s n,) int64, the coefficient's number.
        weight: (s n,), without norm, alpha and coefficient; the inverse axis's multiplicity is
            divided out.
    """

    source: Tensor
    offsets: Tensor
    bags: Tensor
    entry: Tensor
    weight: Tensor


class Tensors(NamedTuple):
    """A basis on one device in one dtype.

    Attributes:
        to_out: From rows of A_in to rows of A_out.
        to_in: From rows of A_out to rows of A_in.
        plain: (s n,) the weights in the order of `to_out`, nothing divided out.
        by_entry: (s n,) int64, the order that brings `to_out` back to (s, n).
        used_in: (m,) int64, the rows of A_in that are used at all.
        used_place: (s n,) int64, where in `used_in` the row of a route stands.
        both: (s n,) the weights in the order of `to_out`, both multiplicities divided out.
    """

    to_out: Direction
    to_in: Direction
    plain: Tensor
    by_entry: Tensor
    used_in: Tensor
    used_place: Tensor
    both: Tensor


class Basis:
    """The transform, shape and entries of delta weights.

    Attributes:
        transform: The registered name.
        shape: (out, in).
        entries: (n, 2) int32.
        out_axis: A_out.
        in_axis: A_in.
    """

    def __init__(self, transform: str, shape: tuple[int, int], entries: Array) -> None:
        """Takes what an entry set states.

        Raises:
            UnsupportedError: The transform is not registered.
        """
        self.transform: Final = transform
        self.shape: Final = shape
        self.entries: Final = read_only(entries)
        self._routes: Final[Routes] = routes(transform, shape, entries)
        self.out_axis: Final = applied(self._routes.out_axis)
        self.in_axis: Final = applied(self._routes.in_axis)
        self._tensors: dict[tuple[torch.device, torch.dtype], Tensors] = {}

    @property
    def count(self) -> int:
        """The number n of entries."""
        return int(self.entries.shape[0])

    @property
    def terms(self) -> int:
        """The number s of cells of M that an entry has."""
        return int(self._routes.weights.shape[0])

    @property
    def norm(self) -> float:
        """What every delta weight is multiplied by, beside alpha."""
        return self._routes.norm

    def on(self, device: torch.device, dtype: torch.dtype) -> Tensors:
        """Returns the basis on `device` in `dtype`; made once for each."""
        key = (device, dtype)
        found = self._tensors.get(key)
        if found is None:
            with torch.inference_mode(mode=False):  # or training could not use it later
                found = _tensors(self._routes, device, dtype)
            self._tensors[key] = found
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Basis:
        """It never changes: copies of a model share it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """What it is made of; the rest is made again."""
        return Basis, (self.transform, self.shape, np.asarray(self.entries))


def _tensors(r: Routes, device: torch.device, dtype: torch.dtype) -> Tensors:
    out_rows, in_rows, weights = r.out_rows.ravel(), r.in_rows.ravel(), r.weights.ravel()
    entry = np.tile(np.arange(r.weights.shape[1]), r.weights.shape[0])
    forth = np.argsort(out_rows, kind="stable")
    back = np.argsort(in_rows, kind="stable")
    out_weights = weights / r.out_axis.multiplicity[out_rows]
    in_weights = weights / r.in_axis.multiplicity[in_rows]
    both = out_weights / r.in_axis.multiplicity[in_rows]
    used, place = np.unique(in_rows[forth], return_inverse=True)

    def integers(values: Array) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(device)

    def reals(values: Array) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float64)).to(device=device, dtype=dtype)

    def direction(order: Array, from_: Array, to: Array, weight: Array, rows: int) -> Direction:
        offsets = np.searchsorted(to[order], np.arange(rows))
        return Direction(
            integers(from_[order]),
            integers(offsets),
            integers(to[order]),
            integers(entry[order]),
            reals(weight[order]),
        )

    return Tensors(
        to_out=direction(forth, in_rows, out_rows, out_weights, r.out_axis.rows),
        to_in=direction(back, out_rows, in_rows, in_weights, r.in_axis.rows),
        plain=reals(weights[forth]),
        by_entry=integers(np.argsort(forth)),
        used_in=integers(used),
        used_place=integers(place),
        both=reals(both[forth]),
    )
