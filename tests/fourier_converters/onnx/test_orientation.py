"""Orientation: the delta weight is added the way the operator reads the weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta, save, without_prints
from tests.fourier_converters.command import Captured, as_json, convert
from tests.fourier_converters.graphs import initializers, matrix, model, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.merged import assert_close, merged, rename

W = weight(6, 4)
SQUARE = weight(5, 5)
LINEAR = """
    g (float[N, 4] x) => (float[N, 6] y) {
        y = MatMul (x, w)
    }
"""


BODIES: Final = {
    "MatMul": ("y = MatMul (x, w)", True),
    "Gemm": ("y = Gemm (x, w)", True),
    "Gemm with transB": ("y = Gemm <transB = 1> (x, w)", False),
    "Transpose": ("t = Transpose (w) y = MatMul (x, t)", False),
    "perm": ("t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)", False),
    "perm that does nothing": ("t = Transpose <perm = [0, 1]> (w) y = MatMul (x, t)", True),
    "two Transposes": ("t = Transpose (w) u = Transpose (t) y = MatMul (x, u)", True),
    "Transpose before Gemm": ("t = Transpose (w) y = Gemm <transB = 1> (x, t)", True),
    "a chain": (
        """
            t = Identity (w)
            u = Cast <to = 11> (t)
            v = Transpose (u)
            o = Cast <to = 1> (v)
            y = MatMul (x, o)
        """,
        False,
    ),
}
"""How a graph reads a weight w, and whether it is then stored (in, out)."""


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("canonical", [W, SQUARE], ids=["oblong", "square"])
@pytest.mark.parametrize("make", [adapter, without_prints])
def test_the_delta_is_added_as_the_operator_reads_the_weight(
    make: Any, canonical: Array, name: str, tmp_path: Path
) -> None:
    body, transposed = BODIES[name]
    out, in_ = canonical.shape
    text = f"g (float[N, {in_}] x) => (float[N, {out}] y) {{ {body} }}"
    proto = model(text, {"w": canonical.T if transposed else canonical})
    rename(proto, "w", "q.weight")
    whole = make({"q": canonical})

    output = merged(proto, whole, tmp_path)

    assert_close(matrix(output, in_), canonical.astype(np.float64) + delta(whole, "q"))
    assert initializers(output) == ["q.weight"]
    assert [n.op_type for n in onnx.load(output).graph.node] == [
        n.op_type for n in proto.graph.node
    ]


@pytest.mark.parametrize("fill", [np.zeros((5, 5)), np.eye(5), SQUARE + SQUARE.T])
def test_values_that_cannot_tell_the_orientation_are_not_asked(fill: Array, tmp_path: Path) -> None:
    canonical = fill.astype(np.float32)
    text = """
        g (float[N, 5] x) => (float[N, 5] y, float[N, 5] z) {
            [one] y = MatMul (x, v)
            [two] z = Gemm <transB = 1> (x, w)
        }
    """
    proto = model(text, {"v": canonical, "w": canonical}, {"one": "q", "two": "k"})
    whole = adapter({"q": canonical, "k": canonical})

    output = merged(proto, whole, tmp_path)

    assert_close(tensor(output, "v").T, canonical + delta(whole, "q"))
    assert_close(tensor(output, "w"), canonical + delta(whole, "k"))


def test_a_zero_weights_change_is_reported_in_both_ways(tmp_path: Path, capsys: Captured) -> None:
    """The delta over a weight of norm zero is no number that JSON has."""
    zeros = np.zeros((6, 4), np.float32)
    base = save_model(model(LINEAR, {"w": zeros.T}), tmp_path / "b.onnx")
    file = save(adapter({"q": zeros}), tmp_path)

    code, found = as_json(capsys, file, "--to", "onnx", "--base", base)

    assert code == 0
    assert found["rows"][0]["relative_change"] is None
    assert convert(file, "--to", "onnx", "--base", base, "--force") == 0
    assert "inf" not in capsys.readouterr().out
