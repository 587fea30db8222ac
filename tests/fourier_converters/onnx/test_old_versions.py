"""Bases of IR version 3, in which every initializer is an input of the graph, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from fourier_converters.onnx import to_onnx
from fourier_converters.onnx.live import read_interface, to_live
from fourier_format.live import fit
from tests.fourier_converters.adapters import adapter, delta
from tests.fourier_converters.graphs import model, run, save, weight

W = weight(6, 4)
WHOLE = adapter({"q": W})
SHARED = """
    g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
        [one] y = MatMul (x, w)
        [two] z = MatMul (x, w)
    }
"""
X = weight(3, 4, seed=5)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A weight of two modules, of which the adapter has one."""
    proto: Any = model(SHARED, {"w": W.T}, {"one": "q", "two": "k"})
    proto.ir_version, proto.opset_import[0].version = 3, 13
    proto.graph.input.append(helper.make_tensor_value_info("w", 1, W.T.shape))
    onnx.checker.check_model(proto)
    return save(proto, tmp_path / "base.onnx")


def inputs(path: Path) -> list[str]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [given.name for given in session.get_inputs()]


def test_a_weight_that_is_cloned_needs_no_input(base: Path, tmp_path: Path) -> None:
    output = tmp_path / "merged.onnx"

    to_onnx(WHOLE, base, output)

    onnx.checker.check_model(output)
    y, z = run(output, x=X)
    assert np.allclose(y - z, X @ delta(WHOLE, "q").T, atol=1e-5)
    assert inputs(output) == inputs(base) == ["x"]


def test_a_live_graph_is_fed_and_its_weights_stay_constants(base: Path, tmp_path: Path) -> None:
    output = tmp_path / "live.onnx"

    to_live([WHOLE], base, output)

    onnx.checker.check_model(output)
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    (fed,) = session.get_overridable_initializers()
    interface = read_interface(output)
    assert interface is not None
    values = fit(WHOLE, interface, "q")[fed.name]
    y, z = session.run(None, {"x": X, fed.name: values[None]})
    assert [given.name for given in session.get_inputs()] == ["x"]
    assert np.allclose(y - z, X @ delta(WHOLE, "q").T, atol=1e-5)


def test_a_base_that_gets_no_new_tensor_stays_as_it_is(base: Path, tmp_path: Path) -> None:
    proto = onnx.load(base)
    del proto.graph.node[1], proto.graph.output[1]
    output = tmp_path / "merged.onnx"

    to_onnx(WHOLE, save(proto, base), output)

    merged = onnx.load(output)
    assert merged.ir_version == 3
    assert merged.graph.input == proto.graph.input
