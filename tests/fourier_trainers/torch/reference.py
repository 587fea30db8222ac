"""`tests.fourier_trainers.reference` for tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourier_format.adapter import Array
from tests.fourier_trainers import reference
from tests.fourier_trainers.reference import (
    TRANSFORMS,
    coefficient_gradient,
    delta,
    delta_at,
    delta_block,
    entries_of,
    factors,
    product,
    values_of,
)

__all__ = [
    "TRANSFORMS",
    "coefficient_gradient",
    "delta",
    "delta_at",
    "delta_block",
    "entries_of",
    "error",
    "factors",
    "product",
    "tensor",
    "values_of",
]


def error(got: Tensor | Array | None, expected: Tensor | Array | None) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return reference.error(_double(got), _double(expected))


def tensor(array: Array, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return a copy of an array as a tensor."""
    return torch.from_numpy(np.array(array)).to(dtype)


def _double(values: Any) -> Array | None:
    if isinstance(values, Tensor):
        values = values.detach().double().numpy()
    return None if values is None else np.asarray(values, np.float64)
