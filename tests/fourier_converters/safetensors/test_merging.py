"""A merged tensor is base + delta weight, rounded once to the base's dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.safetensors.setting import (
    QUERY,
    VALUE,
    WEIGHTS,
    adapter,
    linear,
    merge,
    write_base,
)
from tests.tolerances import DELTA_F32

UNIT = {np.float64: 2.0**-53, np.float16: 2.0**-11, ml_dtypes.bfloat16: 2.0**-8}
"""Half a unit in the last place, relative to the value."""


def stored(kind: str, dtype: Any = np.float32) -> Array:
    shape = {"linear": (6, 4), "embedding": (9, 4), "conv2d": (5, 2, 3, 4)}[kind]
    return np.random.default_rng(2).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    ("kind", "layout", "model_type"),
    [
        ("linear", "out_in", "bert"),
        ("linear", "in_out", "gpt2"),
        ("conv2d", "oihw", "resnet"),
        ("embedding", "vocab_dim", "bert"),
    ],
)
def test_every_kind_layout_and_dtype_gets_its_delta_weight(
    kind: str, layout: str, model_type: str, dtype: Any, tmp_path: Path
) -> None:
    before = stored(kind, dtype)
    whole = adapter({"h.c_fc": (before, kind, layout)})
    base = write_base(tmp_path / "base", {"h.c_fc.weight": before}, {"model_type": model_type})

    tensors, report = merge(whole, base)

    after = tensors["h.c_fc.weight"]
    exact = canonical_matrix(before, kind, layout).astype(np.float64) + delta(whole, "h.c_fc")
    error = np.abs(canonical_matrix(after, kind, layout).astype(np.float64) - exact)
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    if dtype == np.float32:
        assert error.max() <= DELTA_F32 * np.abs(exact).max()
    else:
        assert (error <= UNIT[dtype] * np.abs(exact) + 1e-15).all()
    (row,) = report.rows
    norms = np.linalg.norm(delta(whole, "h.c_fc")), np.linalg.norm(before.astype(np.float64))
    assert row.relative_change == pytest.approx(norms[0] / norms[1], rel=1e-5)


def test_a_replacement_goes_first_and_the_delta_weight_is_added_to_it(tmp_path: Path) -> None:
    trained = weight(6, 6, seed=8)
    whole = linear(QUERY, replacements={f"{QUERY}.weight": trained})

    tensors, _ = merge(whole, write_base(tmp_path / "base"))

    exact = trained.astype(np.float64) + delta(whole, QUERY)
    assert np.abs(tensors[f"{QUERY}.weight"] - exact).max() <= DELTA_F32 * np.abs(exact).max()


def test_what_the_adapter_does_not_change_stays_to_the_bit(tmp_path: Path) -> None:
    tensors, _ = merge(linear(QUERY), write_base(tmp_path / "base"))

    for name in set(WEIGHTS) - {f"{QUERY}.weight"}:
        assert tensors[name].tobytes() == WEIGHTS[name].tobytes()
    assert not np.array_equal(tensors[f"{QUERY}.weight"], WEIGHTS[f"{QUERY}.weight"])


def test_a_sum_beyond_the_bases_dtype_is_refused(tmp_path: Path) -> None:
    half = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}
    base = write_base(tmp_path / "base", half)

    with pytest.raises(UnsupportedError) as caught:
        merge(linear(QUERY, VALUE, tensors=half, alpha=1e7), base)

    assert caught.value.code == "E-NUMBER-NONFINITE"
    assert caught.value.violations[0].where == QUERY
    assert not (tmp_path / "merged").exists()


def test_weights_of_zeros_have_no_relative_change(tmp_path: Path) -> None:
    zeros = {"a.q.weight": np.zeros((6, 4), np.float32)}

    _, report = merge(linear("a.q", tensors=zeros), write_base(tmp_path / "base", zeros))

    assert report.rows[0].relative_change is None
