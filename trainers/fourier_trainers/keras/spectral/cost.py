"""Whether a delta weight is added to the weight, or its product to the layer's output.

Added, it costs FFTs over (in, out) and, for the gradient, one more matrix product. Beside the
weight, it costs FFTs over the tokens, and sums over the coefficients. How many tokens there are may
not be known while a graph is traced; then it is taken as `TOKENS`. Only the ratios of the costs
matter, and a wrong choice costs time and never a digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from fourier_trainers.config import Path
from fourier_trainers.keras.spectral.basis import Basis

TOKENS: Final = 1024
HALF: Final = frozenset({"float16", "bfloat16"})

_CELL: Final = 150.0
"""One number through an FFT, a transpose and back, in multiply-adds of a matrix product.

It and `_ROUTE` are fitted to forward and backward passes of one layer that XLA compiled, in
TensorFlow and JAX, of widths 384 to 2048, by processor time on one core (2026-11).
"""

_ROUTE: Final = 150.0
"""One number of one route, read and added, and once more for each gradient, likewise."""


def separately(path: Path, basis: Basis, dims: Sequence[int | None], dtype: str) -> bool:
    """Whether a product is added to the output of a layer that computes in `dtype`.

    In half precision always: added to the weight, most of a delta weight would be rounded away.

    Args:
        path: What the user asked for.
        basis: Of the delta weight.
        dims: The input's axes that are not contracted, None where unknown.
        dtype: What the layer computes in.
    """
    return dtype in HALF or through_activations(path, basis, _product(dims))


def through_activations(path: Path, basis: Basis, tokens: int | None) -> bool:
    """Whether a product is computed without the delta weight."""
    if path != "auto":
        return path == "activation"
    out, in_ = basis.shape
    count = TOKENS if tokens is None else tokens
    weight = count * in_ * out + 2 * _CELL * out * in_
    activations = 2 * _CELL * count * (in_ + out) + _ROUTE * count * basis.routes
    return activations < weight


def by_rows(path: Path, basis: Basis, dims: Sequence[int | None]) -> bool:
    """Whether an embedding's delta is computed for the rows that are looked up alone."""
    if path != "auto":
        return path == "activation"
    tokens = _product(dims)
    out, vocab = basis.shape
    count = TOKENS if tokens is None else tokens
    rows = 3 * count * basis.rank * out + 4 * _CELL * basis.rank * (count + out)
    return rows < 4 * _CELL * out * vocab


def _product(dims: Sequence[int | None]) -> int | None:
    known = [d for d in dims if d is not None]
    return math.prod(known) if len(known) == len(dims) else None
