"""Transforms: from entries and coefficients to a delta weight (spec, clause 3.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fourier_format.adapter import Adapter, Array, Target
from fourier_format.transforms import dft2


def delta_weight(
    adapter: Adapter, target: Target | str, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Returns the delta weight of one target, (out, in), to add to the canonical matrix.

    Args:
        adapter: A valid adapter.
        target: The target or its name.
        dtype: float32, or float64 for sums that are to be rounded to half precision once.

    Raises:
        KeyError: The adapter has no target of that name.
    """
    if isinstance(target, str):
        target = adapter.target(target)
    entry_set = adapter.entry_set(target)
    coefficients = entry_set.coefficients[target.row]  # (n,)
    return dft2.delta_weight(
        entry_set.entries, coefficients, entry_set.shape, adapter.alpha_of(target), dtype
    )
