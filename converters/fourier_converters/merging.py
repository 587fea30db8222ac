"""Merging: what each changed tensor becomes, computed one at a time.

Sums for float32 weights are in float32, others in float64 and rounded once, to nearest even.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fourier_converters.matching import Match, P
from fourier_converters.replacing import Replaced
from fourier_converters.report import Row, replacement_row, target_row
from fourier_format.adapter import Adapter, Array, Target, read_only
from fourier_format.dtypes import FLOAT_DTYPES, dtype_name, round_once
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.fingerprint import frobenius_norm
from fourier_format.transforms import delta_weight


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One tensor's new values, not computed yet.

    Attributes:
        tensor: Its name in the result.
        dtype: Its dtype in the result.
        before: The values that a delta weight is added to: the base's, or a replacement's.
        target: Whose delta weight is added, if any.
        restored: Gives a canonical matrix as the target's weight is stored.
    """

    tensor: str
    dtype: str
    before: Array
    target: Target | None = None
    restored: Callable[[Array], Array] = read_only

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the new values."""
        return self.before.shape


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A computed change.

    Attributes:
        values: In the change's dtype and shape.
        relative_change: Frobenius norm of the delta weight over the weight's; None without a
            delta weight and for a weight of zeros.
    """

    values: Array
    relative_change: float | None


def plan_changes(matches: Sequence[Match[P]], replaced: Sequence[Replaced]) -> list[Change]:
    """Returns one change for each tensor: a replacement goes first, a delta is added to it."""
    changes = {r.tensor: Change(r.tensor, r.dtype, r.values) for r in replaced}
    for match in matches:
        place = match.place
        dtype = str(dtype_name(place.stored.dtype))
        first = changes.get(place.tensor, Change(place.tensor, dtype, place.stored))
        changes[place.tensor] = Change(
            place.tensor, first.dtype, first.before, match.target, place.restored
        )
    return list(changes.values())


def rows_of(
    adapter: Adapter,
    matches: Sequence[Match[P]],
    replaced: Sequence[Replaced],
    sizes: Mapping[str, float],
) -> tuple[Row, ...]:
    """Returns the report's rows; `sizes` are the relative changes by target."""
    rows = [
        target_row(adapter, m.target, str(m.place), m.evidence, sizes.get(m.target.name))
        for m in matches
    ]
    rows += [replacement_row(r.name, r.tensor, r.evidence, r.values) for r in replaced]
    return tuple(rows)


def compute(change: Change, adapter: Adapter) -> Merged:
    """Returns the new values of `change`.

    Raises:
        UnsupportedError: E-NUMBER-NONFINITE: the sum is not finite in the tensor's dtype.
    """
    if change.dtype not in FLOAT_DTYPES:
        return Merged(change.before, None)
    wide = np.float32 if change.dtype == "F32" else np.float64
    values = change.before.astype(wide)
    relative = None
    if change.target is not None:
        delta = delta_weight(adapter, change.target, wide)  # (out, in)
        norm = frobenius_norm(values.reshape(values.shape[0], -1))
        relative = frobenius_norm(delta) / norm if norm else None
        placed = change.restored(delta)
        np.add(values, placed, out=values)
        del delta, placed  # before the rounding needs room
    with np.errstate(over="ignore"):
        rounded = round_once(values, change.dtype)
    if not np.isfinite(rounded).all():
        where = change.target.name if change.target else change.tensor
        problem = f"the merged weight is not finite in {change.dtype}"
        advice = "merge into a float32 base, or check alpha"
        raise UnsupportedError(Violation("E-NUMBER-NONFINITE", where, problem, advice=advice))
    return Merged(rounded, relative)
