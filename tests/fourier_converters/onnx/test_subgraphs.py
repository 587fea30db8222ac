"""Weights in the bodies of If, Loop and Scan, and in model-local functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import Captured, as_json
from tests.fourier_converters.graphs import run, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import adapter, inputs, merge, without_prints
from tests.fourier_converters.onnx.quantised import (
    IN,
    Layer,
    W,
    dequantize_linear,
    nbits,
    run_plainly,
)

OTHER = weight(24, IN, seed=1)
FLAG = "bool flag, float[N, 40] x"
CASES = {
    "If": f"""
        g ({FLAG}) => (float[N, 24] y) {{
            y = If (flag) <
                then_branch = one () => (float[N, 24] o) {{ BODY }},
                else_branch = two () => (float[N, 24] e) {{ e = MatMul (x, other) }}
            >
        }}
    """,
    "Loop": f"""
        g ({FLAG}) => (float[N, 24] y) {{
            trips = Constant <value = int64 {{1}}> ()
            start = MatMul (x, other)
            y = Loop (trips, flag, start) <
                body = one (int64 i, bool c, float[N, 24] carried) => (bool go, float[N, 24] o)
                {{ go = Identity (c) BODY }}
            >
        }}
    """,
    "Scan": f"""
        g ({FLAG}) => (float[K, N, 24] y) {{
            first = Constant <value = int64[1] {{0}}> ()
            xs = Unsqueeze (x, first)
            y = Scan <
                num_scan_inputs = 1,
                body = one (float[N, 40] s) => (float[N, 24] o) {{ SCANNED }}
            > (xs)
        }}
    """,
    "If in an If": f"""
        g ({FLAG}) => (float[N, 24] y) {{
            y = If (flag) <
                then_branch = outer () => (float[N, 24] p) {{
                    p = If (flag) <
                        then_branch = one () => (float[N, 24] o) {{ BODY }},
                        else_branch = two () => (float[N, 24] e) {{ e = MatMul (x, other) }}
                    >
                }},
                else_branch = three () => (float[N, 24] f) {{ f = MatMul (x, other) }}
            >
        }}
    """,
}


def graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            if entry.HasField("g"):
                yield from graphs(entry.g)


def built(case: str, layer: Layer, where: str) -> Any:
    """Returns the model, the layer's tensors "inside" its graph, "outside" or as "constants"."""
    body = layer.body.replace(" y = ", " o = ")
    text = CASES[case].replace("BODY", body).replace("SCANNED", body.replace("(x, ", "(s, "))
    header = '<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>'
    proto = parser.parse_model(header + text)
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(OTHER.T), "other"))
    for graph in graphs(proto.graph):
        for node in graph.node:
            node.name = "/enc/q/MatMul" if node.name == "q" else node.name
    inner = next(g for g in graphs(proto.graph) if g.name == "one")
    tensors = [
        numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), name)
        for name, a in layer.arrays.items()
    ]
    if where == "constants":
        for tensor in tensors:
            node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
            inner.node.insert(0, node)
    else:
        (inner if where == "inside" else proto.graph).initializer.extend(tensors)
    return proto


def computed(path: Path) -> Array:
    """Returns the output; ONNX Runtime's own optimiser does not find weights outside a subgraph."""
    y = run_plainly(path, flag=np.array(True), x=inputs())
    return y.reshape(7, 24).astype(np.float64)


@pytest.mark.parametrize("where", ["inside", "outside", "constants"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "layer",
    [
        Layer(" [q] y = MatMul (x, w)", {"w": W.T}),
        Layer(" t = Transpose (w) [q] y = MatMul (x, t)", {"w": W}),
        nbits(zero="packed"),
        dequantize_linear("channel"),
    ],
    ids=["MatMul", "Transpose", "MatMulNBits", "DequantizeLinear"],
)
def test_a_layer_in_a_subgraph_is_changed(
    layer: Layer, case: str, where: str, tmp_path: Path
) -> None:
    whole = adapter({"enc.q": W})

    output = merge(built(case, layer, where), whole, tmp_path)

    difference = computed(output) - computed(tmp_path / "base.onnx")
    expected = inputs() @ delta(whole, "enc.q").T
    assert np.abs(difference - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("where", ["inside", "outside", "constants"])
def test_a_layer_in_a_subgraph_is_requantised(where: str, tmp_path: Path) -> None:
    whole = adapter({"enc.q": W})

    output = merge(built("If", nbits(8), where), whole, tmp_path, "--quantized", "requantize")

    difference = computed(output) - computed(tmp_path / "base.onnx")
    expected = inputs() @ delta(whole, "enc.q").T
    assert np.abs(difference - expected).max() <= 0.05 * np.abs(expected).max()
    assert not any("branch" in n.output[0] for g in graphs(onnx.load(output).graph) for n in g.node)


def test_a_product_that_a_subgraph_hands_on_has_its_branch_whoever_else_rounds_it(
    tmp_path: Path,
) -> None:
    proto = built("If", dequantize_linear("channel"), "inside")
    inner = next(g for g in graphs(proto.graph) if g.name == "one")
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "o_s")
    inner.initializer.append(scale)
    for operator, given, made in (("QuantizeLinear", "o", "i"), ("DequantizeLinear", "i", "j")):
        inner.node.append(onnx.helper.make_node(operator, [given, "o_s"], [made]))
    whole = adapter({"enc.q": W})

    output = merge(proto, whole, tmp_path)

    difference = computed(output) - computed(tmp_path / "base.onnx")
    expected = inputs() @ delta(whole, "enc.q").T
    assert np.abs(difference - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_weight_that_one_layer_shares_with_a_subgraphs_is_that_layers_alone(
    tmp_path: Path,
) -> None:
    proto = built("If", Layer(" [q] y = MatMul (x, w)", {"w": W.T}), "outside")
    proto.graph.node.insert(0, onnx.helper.make_node("MatMul", ["x", "w"], ["z"], "/enc/k/MatMul"))
    proto.graph.output.add().CopyFrom(proto.graph.output[0])
    proto.graph.output[1].name = "z"
    whole = adapter({"enc.q": W})

    output = merge(proto, whole, tmp_path)

    y, z = run(output, flag=np.array(True), x=inputs())
    assert np.allclose(y, inputs() @ (W + delta(whole, "enc.q")).T, atol=1e-3)
    assert np.allclose(z, inputs() @ W.T, atol=1e-4)


class TestFunctions:
    """Dynamo without inlining, and older exporters, write a module's body once."""

    TEXT = """
        <ir_version: 10, opset_import: ["": 21, "local": 1]>
        g (float[N, 40] x) => (float[N, 24] y, float[N, 24] z) {
            [one] y = local.linear (x, v, b)
            [two] z = local.linear (x, w, b)
        }
        <domain: "local", opset_import: ["": 21]>
        linear (a, kernel, bias) => (r) {
            t = Transpose <perm = [1, 0]> (kernel)
            [product] p = MatMul (a, t)
            r = Add (p, bias)
        }
        <domain: "local", opset_import: ["": 21]>
        square (a) => (r) { r = Mul (a, a) }
    """

    def proto(self) -> Any:
        proto = parser.parse_model(self.TEXT)
        for name, array in {"v": W, "w": OTHER, "b": weight(1, 24, seed=5)[0]}.items():
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
        return proto

    def test_each_call_has_its_own_weight(self, tmp_path: Path) -> None:
        whole = adapter({"first": W})

        output = merge(self.proto(), whole, tmp_path)

        before, after = (run(p, x=inputs()) for p in (tmp_path / "base.onnx", output))
        assert np.allclose(after[0] - before[0], inputs() @ delta(whole, "first").T, atol=1e-3)
        assert np.array_equal(after[1], before[1])

    def test_only_functions_that_hold_weights_are_inlined(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        proto = self.proto()
        proto.graph.node.append(
            onnx.helper.make_node("square", ["y"], ["s"], domain="local", name="squared")
        )
        base = save_model(proto, tmp_path / "base.onnx")
        file = save(without_prints({"w": OTHER}), tmp_path)
        path = tmp_path / "map.json"
        path.write_text('{"targets": {"w": {"initializer": "w"}}}')
        output = tmp_path / "m.onnx"

        _, found = as_json(
            capsys, file, "--to", "onnx", "--base", base, "-o", output, "--map", path
        )

        assert found["notes"] == ["functions that hold weights were inlined: linear"]
        after = onnx.load(output)
        assert [f.name for f in after.functions] == ["square"]
        assert "square" in {node.op_type for node in after.graph.node}
