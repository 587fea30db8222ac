"""Merging: the numbers, rounded once, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta, replaced, save
from tests.fourier_converters.command import Captured, as_json, refused
from tests.fourier_converters.graphs import matrix, model, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.merged import assert_close, merged

W = weight(6, 4)
LINEAR = """
    g (float[N, 4] x) => (float[N, 6] y) {
        y = MatMul (x, w)
    }
"""


class TestRounding:
    @staticmethod
    def stored(dtype: Any, folder: Path, n: int = 64, alpha: float = 200.0) -> tuple[Array, Array]:
        """Returns the merged weight of `dtype`, and the same in float64, not rounded."""
        canonical = weight(n, n, dtype=dtype)
        kind = {"float64": "double", "float32": "float"}.get(
            str(canonical.dtype), str(canonical.dtype)
        )
        text = f"g ({kind}[N, {n}] x) => ({kind}[N, {n}] y) {{ y = MatMul (x, w) }}"
        whole = adapter({"q": canonical}, alpha=alpha)
        output = merged(model(text, {"w": canonical.T}), whole, folder)
        return tensor(output, "w").T, canonical.astype(np.float64) + delta(whole, "q")

    def test_a_float32_weight_is_summed_in_float32(self, tmp_path: Path) -> None:
        got, exact = self.stored(np.float32, tmp_path)

        assert got.dtype == np.float32
        assert_close(got, exact)

    def test_a_float64_weight_keeps_its_digits(self, tmp_path: Path) -> None:
        got, exact = self.stored(np.float64, tmp_path)

        assert got.dtype == np.float64
        assert np.abs(got - exact).max() <= 1e-13 * np.abs(exact).max()

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
    def test_half_precision_is_rounded_exactly_once(self, dtype: Any, tmp_path: Path) -> None:
        """Every value is the nearest that the dtype has: rounding the delta first would miss it."""
        got, exact = self.stored(dtype, tmp_path, n=256, alpha=3000.0)

        assert got.dtype == dtype
        error = np.abs(got.astype(np.float64) - exact)
        for side in (np.inf, -np.inf):
            neighbour = np.nextafter(got, got.dtype.type(side)).astype(np.float64)
            assert (error <= np.abs(neighbour - exact) + 1e-12).all()

    def test_a_float16_weight_that_a_cast_widens_gets_the_exact_sum_in_its_own_tensor(
        self, tmp_path: Path
    ) -> None:
        text = """
            g (float[N, 6] x, int64[N] ids) => (float[N, 6] y, float16[N, 6] e) {
                t = Cast <to = 1> (w)
                y = MatMul (x, t)
                e = Gather (w, ids)
            }
        """
        half = weight(6, 6, dtype=np.float16)
        whole = adapter({"q": half})

        output = merged(model(text, {"w": half.T}), whole, tmp_path)

        assert tensor(output, "w.merged").dtype == np.float32
        assert_close(tensor(output, "w.merged").T, half.astype(np.float64) + delta(whole, "q"))
        assert np.array_equal(tensor(output, "w"), half.T)

    def test_a_sum_that_float16_cannot_hold_is_refused(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        half = weight(dtype=np.float16)
        text = LINEAR.replace("float", "float16")
        base = save_model(model(text, {"w": half.T}), tmp_path / "b.onnx")
        file = save(adapter({"q": half}, alpha=1e7), tmp_path)
        output = tmp_path / "m.onnx"

        (line,) = refused(capsys, file, "--to", "onnx", "--base", base, "-o", output)

        assert line.startswith("q: the merged weight is not finite in F16")
        assert line.endswith("[E-NUMBER-NONFINITE, clause 3.1]")
        assert not output.exists()


def test_each_targets_own_scale_counts(tmp_path: Path) -> None:
    whole = adapter({"q": W})
    (target,) = whole.targets
    whole = replaced(whole, targets=(replaced(target, alpha=-3.0),))

    output = merged(model(LINEAR, {"w": W.T}), whole, tmp_path)

    assert_close(matrix(output, 4), W + delta(whole, "q"))
    assert not np.allclose(delta(whole, "q"), delta(adapter({"q": W}), "q"))


def test_the_report_says_how_large_the_change_is(tmp_path: Path, capsys: Captured) -> None:
    base = save_model(model(LINEAR, {"w": W.T}), tmp_path / "b.onnx")
    whole = adapter({"q": W})

    _, found = as_json(capsys, save(whole, tmp_path), "--to", "onnx", "--base", base)

    (row,) = found["rows"]
    expected = np.linalg.norm(delta(whole, "q")) / np.linalg.norm(W)
    assert row["relative_change"] == pytest.approx(expected, rel=1e-6)
    assert (row["target"], row["shape"], row["n"]) == ("q", "6x4", 5)


def test_everything_else_in_the_model_stays_as_it_was(tmp_path: Path) -> None:
    proto = model(LINEAR, {"w": W.T, "other": np.ones(3, np.float32)})
    proto.doc_string, proto.producer_name = "größe", "pytorch"
    entry = proto.metadata_props.add()
    entry.key, entry.value = "labels", json.dumps(["a", "b"])
    proto.graph.node[0].doc_string = "kept"

    output = merged(proto, adapter({"q": W}), tmp_path)

    after = onnx.load(output)
    after.graph.initializer[0].CopyFrom(proto.graph.initializer[0])
    assert after == proto
