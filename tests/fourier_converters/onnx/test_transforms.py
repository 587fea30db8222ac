"""Every transform is merged, added beside quantised weights and requantised by its own formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.fourier_converters import adapters
from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import initializers, model, tensor, weight
from tests.fourier_converters.onnx import branched
from tests.fourier_converters.onnx.merged import assert_close, merged
from tests.fourier_converters.onnx.quantised import W, nbits
from tests.tolerances import HALF_ERROR_RATIO

TRANSFORMS = ("dft2", "dct2", "dht2", "dwt2:db1", "dwt2:db4", "dwt2:coif4-peft")
FACTORED, DENSE = 3, 40
"""Coefficients with which columns and rows take less room than the delta, and more."""

every = pytest.mark.parametrize("transform", TRANSFORMS)


@every
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("shape", [(6, 4), (7, 5), (33, 20)], ids=str)
def test_the_merged_weight_is_the_sum(
    shape: tuple[int, int], transposed: bool, transform: str, tmp_path: Path
) -> None:
    """Stored as (in, out) it is worked on with the delta turned."""
    out, in_ = shape
    canonical = weight(out, in_)
    whole = adapters.adapter({"q": canonical}, transform=transform)
    attribute = "" if transposed else "<transB = 1>"
    operator = f"Gemm {attribute}" if not transposed else "MatMul"
    text = f"g (float[N, {in_}] x) => (float[N, {out}] y) {{ y = {operator} (x, w) }}"

    output = merged(model(text, {"w": canonical.T if transposed else canonical}), whole, tmp_path)

    stored = tensor(output, "w")
    exact = canonical.astype(np.float64) + delta(whole, "q")
    assert_close(stored.T if transposed else stored, exact)


@every
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_rounded_exactly_once(dtype: Any, transform: str, tmp_path: Path) -> None:
    canonical = weight(64, 64, dtype=dtype)
    kind = str(canonical.dtype)
    text = f"g ({kind}[N, 64] x) => ({kind}[N, 64] y) {{ y = MatMul (x, w) }}"
    whole = adapters.adapter({"q": canonical}, transform=transform, count=60)

    output = merged(model(text, {"w": canonical.T}), whole, tmp_path)

    exact = canonical.astype(np.float64) + delta(whole, "q")
    off = np.abs(tensor(output, "w").T.astype(np.float64) - exact)
    best = np.abs(exact.astype(dtype).astype(np.float64) - exact)
    assert off.max() <= HALF_ERROR_RATIO * best.max()
    assert np.mean(off > best * (1 + 1e-9)) < 1e-2  # ties aside


@every
@pytest.mark.parametrize("count", [FACTORED, DENSE])
def test_the_branch_beside_a_quantised_weight_is_the_exact_delta(
    count: int, transform: str, tmp_path: Path
) -> None:
    whole = branched.adapter({"enc.q": W}, count=count, transform=transform)

    output = branched.merge(nbits().model(), whole, tmp_path)

    x = branched.inputs()
    expected = x.astype(np.float64) @ delta(whole, "enc.q").T
    branched.assert_added(branched.added(tmp_path, x=x), expected)
    factored = any(name.startswith("fourier.") for name in initializers(output))
    assert factored == (count == FACTORED)


@every
def test_requantised_codes_take_the_delta_in(transform: str, tmp_path: Path) -> None:
    whole = branched.adapter({"enc.q": W}, count=DENSE, transform=transform)
    exact = branched.inputs().astype(np.float64) @ delta(whole, "enc.q").T

    branched.merge(nbits().model(), whole, tmp_path, "--quantized", "requantize")

    got = branched.added(tmp_path, x=branched.inputs())
    assert np.corrcoef(got.ravel(), exact.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("transform", ["dct2", "dht2", "dwt2:db1"])
def test_a_sum_of_adapters_adds_their_deltas(transform: str, tmp_path: Path) -> None:
    canonical = weight(16, 12)
    first = adapters.adapter({"q": canonical}, transform=transform, alpha=2.0)
    second = adapters.adapter({"q": canonical}, transform=transform, count=9)
    paths = [save(first, tmp_path, "a.fft"), save(second, tmp_path, "b.fft")]
    text = "g (float[N, 12] x) => (float[N, 16] y) { y = MatMul (x, w) }"
    base = tmp_path / "base.onnx"
    base.write_bytes(model(text, {"w": canonical.T}).SerializeToString())
    output = tmp_path / "merged.onnx"

    converted(*paths, "--scales", "0.5,-2", "--to", "onnx", "--base", base, "-o", output)

    exact = canonical + 0.5 * delta(first, "q") - 2 * delta(second, "q")
    assert_close(tensor(output, "w").T, exact)
