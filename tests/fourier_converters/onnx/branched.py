"""A quantised layer with an adapter beside it: what the branch adds to the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters import adapters
from tests.fourier_converters.adapters import save
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.quantised import IN, run_plainly
from tests.tolerances import BRANCH_F16, BRANCH_F32

ALPHA = 400.0
"""Makes branches about as large as the layers' own outputs, so that these do not drown them."""


def adapter(weights: Mapping[str, Array], **fields: Any) -> Adapter:
    return adapters.adapter(weights, alpha=ALPHA, **fields)


def without_prints(weights: Mapping[str, Array], **fields: Any) -> Adapter:
    return adapters.adapter(weights, alpha=ALPHA, prints=False, **fields)


def merge(proto: Any, whole: Adapter, folder: Path, *more: str | Path) -> Path:
    """Merge the adapter into the model, which must go well; returns the merged model."""
    base = save_model(proto, folder / "base.onnx")
    output = folder / "merged.onnx"
    converted(save(whole, folder), "--to", "onnx", "--base", base, "-o", output, "--force", *more)
    onnx.checker.check_model(output)
    return output


def inputs(rows: int = 7, in_: int = IN, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(3).standard_normal((rows, in_)).astype(dtype)


def added(folder: Path, **given: Array) -> Array:
    """Returns the merged model's first output minus the base's, no nodes fused."""
    before = run_plainly(folder / "base.onnx", **given).astype(np.float64)
    after: Array = run_plainly(folder / "merged.onnx", **given).astype(np.float64)
    return after - before


def assert_added(got: Array, expected: Array, dtype: Any = np.float32) -> None:
    """Compare a difference of outputs with the branch's own float64 values."""
    bar = BRANCH_F32 if dtype == np.float32 else BRANCH_F16
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= bar * np.abs(expected).max()


def set_shape(proto: Any, given: Sequence[Any], got: Sequence[Any] | None = None) -> Any:
    """Give the model's input, and its output if that is said, a shape; returns the model."""
    for value, sizes in ((proto.graph.input[0], given), (proto.graph.output[0], got)):
        if sizes is None:
            continue
        dims = value.type.tensor_type.shape.dim
        del dims[:]
        for size in sizes:
            if isinstance(size, int):
                dims.add().dim_value = size
            else:
                dims.add().dim_param = size
    return proto


def convolved(x: Array, kernel: Array, groups: int, strides: tuple[int, int]) -> Array:
    """Returns the (N, O, H, W) float64 convolution of x (N, I, H, W), padded by one."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out, per_group, high, wide = kernel.shape
    windows = np.lib.stride_tricks.sliding_window_view(padded, (high, wide), (2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]  # (N, I, H, W, kh, kw)
    each = out // groups
    parts = [
        np.einsum(
            "nihwkl,oikl->nohw",
            windows[:, g * per_group : (g + 1) * per_group],
            kernel[g * each : (g + 1) * each],
        )
        for g in range(groups)
    ]
    result: Array = np.concatenate(parts, 1)
    return result
