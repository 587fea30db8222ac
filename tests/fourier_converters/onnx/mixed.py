"""A base of two targets: one changed in place, one whose tensor a table reads too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta
from tests.fourier_converters.graphs import (
    model,
    run,
    tensor,
    weight,
)

TEXT = """
    g (float[N, 32] x, int64[N] ids) => (float[N, 48] y, float[N, 48] z, float[N, 32] e) {
        [one] y = MatMul (x, w)
        [two] z = Gemm <transB = 1> (x, v)
        e = Gather (v, ids)
    }
"""
W, V = weight(48, 32), weight(48, 32, seed=1)
ARRAYS = {"w": W.T, "v": V, "unread": np.arange(7, dtype=np.float32)}
WHOLE = adapter({"one": W, "two": V})


def proto(arrays: dict[str, Array] | None = None) -> Any:
    return model(TEXT, arrays or ARRAYS, {"one": "one", "two": "two"})


def assert_merged(path: Path) -> None:
    """One target is changed in place, the other in a tensor of its own."""
    onnx.checker.check_model(path)
    x, ids = np.eye(32, dtype=np.float32), np.arange(32)
    y, z, e = run(path, x=x, ids=ids)
    assert np.allclose(y.T, W + delta(WHOLE, "one"), atol=2e-6)
    assert np.allclose(z.T, V + delta(WHOLE, "two"), atol=2e-6)
    assert np.array_equal(e, V[:32])
    assert np.array_equal(tensor(path, "unread"), ARRAYS["unread"])
