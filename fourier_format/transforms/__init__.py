"""Transforms: from entries and coefficients to a delta weight (spec, clauses 3.1 and 3.2).

One module a transform, each of which gives a `Transform`; here they are chosen by their names.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Adapter, Array, EntrySet, Target
from fourier_format.transforms import dct2, dft2, dht2, dwt2
from fourier_format.transforms.rows import Factors, Rows, Transform, whole

__all__ = ["Factors", "Rows", "Transform", "delta_norms", "delta_weight", "named", "rows_of"]

_WAVELET: Final = "dwt2:"
_PLAIN: Final = {
    "dft2": dft2.TRANSFORM,
    "dct2": dct2.TRANSFORM,
    "dht2": dht2.TRANSFORM,
}


def named(name: str) -> Transform:
    """Returns the transform of a registered name (spec/registry.md, table 1).

    Raises:
        KeyError: The name is not registered.
    """
    if name.startswith(_WAVELET):
        return dwt2.transform(name.removeprefix(_WAVELET))
    return _PLAIN[name]


def rows_of(
    adapter: Adapter, target: Target, dtype: npt.DTypeLike = np.float32, *, turned: bool = False
) -> Rows:
    """Returns the rows of a target's delta weight, or of its transpose (`turned`).

    In the transpose u and v change places, whatever the transform.

    Args:
        adapter: A valid adapter.
        target: One of its targets.
        dtype: float32 or float64.
        turned: Whether the rows are those of the transpose, (in, out).
    """
    entry_set = adapter.entry_set(target)
    shape, entries = entry_set.shape, entry_set.entries
    if turned:
        shape, entries = (shape[1], shape[0]), entries[:, ::-1]
    coefficients = entry_set.coefficients[target.row]  # (n,)
    transform = named(adapter.transform)
    return transform.rows(entries, coefficients, shape, adapter.alpha_of(target), dtype)


def delta_weight(
    adapter: Adapter, target: Target | str, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Returns the delta weight of one target, (out, in), to add to the canonical matrix.

    Args:
        adapter: A valid adapter.
        target: The target or its name.
        dtype: float32, or float64 for sums that are to be rounded to half precision once.

    Raises:
        TargetNotFoundError: The adapter has no target of that name.
    """
    if isinstance(target, str):
        target = adapter.target(target)
    return whole(rows_of(adapter, target, dtype), dtype)


def delta_norms(adapter: Adapter, entry_set: EntrySet) -> Array:
    """Returns the Frobenius norms of a set's delta weights at alpha = 1, (L,) float64.

    They are known from entries and coefficients alone: no delta weight is computed.
    """
    return named(adapter.transform).norms(
        entry_set.entries, entry_set.coefficients, entry_set.shape
    )
