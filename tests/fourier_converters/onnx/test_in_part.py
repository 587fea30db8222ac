"""An adapter is never merged in part: layers in a row, tensors in two copies, scales in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta, save, without_prints
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import model, rng, set_scopes, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.quantised import run_plainly

A, B = weight(8, 8), weight(8, 8, seed=1)
ZERO = np.int8(0)
STEP = np.float32(0.1)


def codes(stored: Array) -> tuple[Array, Any]:
    scale = np.float32(np.abs(stored).max() / 127)
    return np.rint(stored / scale).astype(np.int8), scale


def arguments(proto: Any, whole: Any, folder: Path, *more: str) -> list[str | Path]:
    base = save_model(proto, folder / "base.onnx")
    file = save(whole, folder)
    return [file, "--to", "onnx", "--base", base, "-o", folder / "merged.onnx", *more]


def test_a_branch_behind_a_pair_reaches_the_next_layers_branch(tmp_path: Path) -> None:
    """The first layer's branch stands behind its output's QuantizeLinear and DequantizeLinear."""
    text = """
        g (float[N, 8] x) => (float[N, 8] y) {
            wa = DequantizeLinear (qa, sa, z)
            wb = DequantizeLinear (qb, sb, z)
            [a] h = MatMul (x, wa)
            hq = QuantizeLinear (h, sh, z)
            hd = DequantizeLinear (hq, sh, z)
            [b] y = MatMul (hd, wb)
        }
    """
    (qa, sa), (qb, sb) = codes(A.T), codes(B.T)
    arrays = {"qa": qa, "sa": sa, "qb": qb, "sb": sb, "z": ZERO, "sh": STEP}
    proto = model(text, {k: np.asarray(v) for k, v in arrays.items()}, {"a": "a", "b": "b"})
    whole = adapter({"a": A, "b": B}, alpha=200.0)

    converted(*arguments(proto, whole, tmp_path))

    x = rng(5).standard_normal((4, 8)).astype(np.float32)
    rounded = np.clip(np.rint(x @ (qa * sa) / STEP), -128, 127) * float(STEP)
    hidden = rounded + x @ delta(whole, "a").T
    expected = hidden @ ((qb * sb) + delta(whole, "b").T)
    got = run_plainly(tmp_path / "merged.onnx", x=x)
    assert np.allclose(got, expected, atol=1e-5 * np.abs(expected).max())


TWICE = """
    g (float[N, 8] x) => (float[N, 8] y) {
        [a] h = MatMul (x, w1)
        r = Relu (h)
        [b] y = MatMul (r, w2)
    }
"""


def test_a_nameless_copy_of_the_tensor_is_ambiguous(tmp_path: Path, capsys: Captured) -> None:
    """Optimisers copy a tensor that a module reads twice."""
    proto = model(TWICE, {"w1": A.T, "w2": A.T}, {"a": "q"})

    (line,) = refused(capsys, *arguments(proto, adapter({"q": A}), tmp_path))

    assert "another tensor has its weight, too" in line
    assert line.endswith("[E-TARGET-AMBIGUOUS]")


def test_a_copy_that_is_another_modules_goes_on_as_it_was(tmp_path: Path) -> None:
    proto = model(TWICE, {"w1": A.T, "w2": A.T}, {"a": "q", "b": "k"})
    whole = adapter({"q": A})

    converted(*arguments(proto, whole, tmp_path))

    x = rng(5).standard_normal((4, 8)).astype(np.float32)
    expected = np.maximum(x @ (A + delta(whole, "q")).T, 0) @ A.T
    assert np.allclose(run_plainly(tmp_path / "merged.onnx", x=x), expected, atol=1e-4)


@pytest.mark.parametrize("reader", ["", "enc", "enc.q.inner"])
def test_a_reader_in_the_targets_parent_or_child_may_be_a_part_of_it(
    reader: str, tmp_path: Path, capsys: Captured
) -> None:
    """`F.linear(x, self.q.weight)` in the forward of the module that holds q."""
    proto = model(TWICE.replace("w2", "w1"), {"w1": A.T}, {"a": "enc.q"})
    set_scopes(proto.graph.node[2], str(["", reader, "linear"]))

    (line,) = refused(capsys, *arguments(proto, adapter({"enc.q": A}), tmp_path))

    assert "its weight w1 is also read by MatMul 'b'" in line


def test_a_scale_of_input_and_weight_in_one_is_not_opened(tmp_path: Path, capsys: Captured) -> None:
    text = """
        g (float[N, 8] x) => (float[N, 8] y) {
            xq = QuantizeLinear (x, sx, zx)
            [a] p = MatMulInteger (xq, q, zx, z)
            c = Cast <to = 1> (p)
            y = Mul (c, both)
        }
    """
    q, scale = codes(A.T)
    arrays = {"q": q, "z": ZERO, "zx": ZERO, "sx": STEP, "both": scale * STEP}
    proto = model(text, {k: np.asarray(v) for k, v in arrays.items()}, {"a": "q"})

    lines = refused(capsys, *arguments(proto, without_prints({"q": A}), tmp_path))

    assert "MatMulInteger whose weight is not constant or not of a known packing" in lines[0]


@pytest.mark.parametrize("mode", ["live", "requantize"])
def test_what_is_not_finite_is_not_stored(mode: str, tmp_path: Path, capsys: Captured) -> None:
    text = """
        g (float[N, 8] x) => (float[N, 8] y) {
            w = DequantizeLinear (q, s)
            [a] y = MatMul (x, w)
        }
    """
    q, scale = codes(A.T)
    proto = model(text, {"q": q, "s": np.asarray(scale)}, {"a": "q"})
    whole = adapter({"q": A}, alpha=1e44)

    lines = refused(capsys, *arguments(proto, whole, tmp_path, "--quantized", mode))

    assert "[E-NUMBER-NONFINITE, clause 3.1]" in lines[0]
    assert not (tmp_path / "merged.onnx").exists()


def test_codes_of_a_byte_must_be_near(tmp_path: Path, capsys: Captured) -> None:
    """A weight with a third of noise is not the one that was quantised."""
    noisy = A + 0.3 * rng(9).standard_normal(A.shape).astype(np.float32) * A.std()
    text = """
        g (float[N, 8] x) => (float[N, 8] y) {
            w = DequantizeLinear (q, s)
            [a] y = MatMul (x, w)
        }
    """
    q, scale = codes(noisy.T)
    proto = model(text, {"q": q, "s": np.asarray(scale)}, {"a": "q"})

    (line,) = refused(capsys, *arguments(proto, adapter({"q": A}), tmp_path))

    assert line.endswith("[E-BASE-MISMATCH]")


def test_a_dry_run_refuses_what_the_real_run_would(tmp_path: Path, capsys: Captured) -> None:
    proto = model(TWICE, {"w1": A.T, "w2": B.T}, {"a": "q"})
    options = ("--external-data", "reference", "--dry-run")

    (line,) = refused(capsys, *arguments(proto, adapter({"q": A}), tmp_path, *options), exit_code=2)

    assert "the base has its weights inside the .onnx file" in line


def test_an_explanation_tells_nodes_of_one_name_apart(tmp_path: Path) -> None:
    """ONNX does not ask that nodes' names differ."""
    proto = model(TWICE.replace("[b]", "[a]"), {"w1": A.T, "w2": B.T})
    whole, path = adapter({"q": A}), tmp_path / "map.json"
    converted(*arguments(proto, whole, tmp_path, "--explain", str(path), "--dry-run"))

    converted(*arguments(proto, whole, tmp_path, "--map", str(path)))

    merged = tmp_path / "merged.onnx"
    assert np.array_equal(tensor(merged, "w2"), B.T)
    assert np.allclose(tensor(merged, "w1").T, A + delta(whole, "q"), atol=1e-5)


@pytest.mark.parametrize("sizes", [np.ones((2, 2), np.int64), np.full(3, np.nan, np.float32)])
def test_sizes_that_are_no_list_of_integers_divide_nothing(sizes: Array, tmp_path: Path) -> None:
    text = """
        g (float[N, 8] x) => (float[N, 8] y) {
            [a] y = MatMul (x, w)
            p, k, v = Split <axis = -1> (y, sizes)
        }
    """
    proto = model(text, {"w": A.T, "sizes": sizes}, {"a": "q"})

    converted(*arguments(proto, adapter({"q": A}), tmp_path))
