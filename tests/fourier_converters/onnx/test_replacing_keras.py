"""Replacements that Keras named: `export_base` gives a tensor the variable's path and its axes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fourier_converters.graphs import tensor
from tests.fourier_converters.onnx.layers import Graph, assert_close, values


@pytest.mark.parametrize("out", [3, 6], ids=["oblong", "square"])
def test_a_dense_layers_kernel_and_bias(out: int, graph: Graph) -> None:
    arrays = {"c": values(6, out), "d": values(out)}
    graph.build("z = MatMul (h, c) y = Add (z, d)", arrays, c="logits/kernel", d="logits/bias")
    kernel, bias = values(6, out, seed=1), values(out, seed=2)

    got = graph.merge({"logits/kernel": kernel, "logits/bias": bias})

    assert_close(got, graph.hidden @ kernel + bias)


@pytest.mark.parametrize("out", [3, 6], ids=["oblong", "square"])
def test_a_kernel_that_the_graph_transposes(out: int, graph: Graph) -> None:
    body = "t = Transpose <perm = [1, 0]> (c) y = Gemm <transB = 1> (h, t)"
    graph.build(body, {"c": values(6, out)}, c="logits/kernel")
    kernel = values(6, out, seed=1)

    assert_close(graph.merge({"logits/kernel": kernel}), graph.hidden @ kernel)


def test_a_kernel_with_an_axis_for_heads(graph: Graph) -> None:
    arrays = {"c": values(6, 2, 4), "s": np.array([6, 8])}
    graph.build("k = Reshape (c, s) y = MatMul (h, k)", arrays, c="attention/query/kernel")
    kernel = values(6, 2, 4, seed=1)

    got = graph.merge({"attention/query/kernel": kernel})

    assert_close(got, graph.hidden @ kernel.reshape(6, 8))
    assert np.array_equal(tensor(graph.output, "attention/query/kernel"), kernel)


def test_an_embedding(graph: Graph) -> None:
    arrays = {"e": values(3, 6), "i": np.array([1, 1, 2, 0])}
    graph.build("p = Gather (e, i) y = Add (h, p)", arrays, e="words/embeddings")
    new = values(3, 6, seed=1)

    assert_close(graph.merge({"words/embeddings": new}), graph.hidden + new[[1, 1, 2, 0]])


def test_a_normalizations_parameters(graph: Graph) -> None:
    arrays = {"s": values(6), "t": values(6, seed=1)}
    graph.build("z = Mul (h, s) y = Add (z, t)", arrays, s="norm/gamma", t="norm/beta")
    gamma, beta = values(6, seed=2), values(6, seed=3)

    got = graph.merge({"norm/gamma": gamma, "norm/beta": beta})

    assert_close(got, graph.hidden * gamma + beta)


@pytest.mark.parametrize("parameter", ["kernel", "bias"])
def test_where_the_map_says_so(parameter: str, graph: Graph) -> None:
    """Keras keeps [in, out] whoever exported it; the graph here has it turned."""
    head, bias = values(6, 6), values(6)
    graph.build("[n] y = Gemm <transB = 1> (h, c, d)", {"c": head, "d": bias})
    new = {"kernel": values(6, 6, seed=1), "bias": values(6, seed=1)}[parameter]
    path = graph.folder / "map.json"
    path.write_text(f'{{"replacements": {{"logits/{parameter}": {{"node": "n"}}}}}}')

    got = graph.merge({f"logits/{parameter}": new}, "--map", path)

    kernel, added = (new, bias) if parameter == "kernel" else (head.T, new)
    assert_close(got, graph.hidden @ kernel + added)


def test_of_another_shape_is_refused(graph: Graph) -> None:
    graph.build("y = MatMul (h, c)", {"c": values(6, 3)}, c="logits/kernel")

    (line,) = graph.refuse({"logits/kernel": values(3, 6)})

    assert "got (3, 6) in the adapter" in line
    assert "expected (6, 3) in the graph" in line
    assert line.endswith("[E-REPLACEMENT-SHAPE]")


def test_that_is_not_in_the_graph_is_refused(graph: Graph) -> None:
    graph.build("y = MatMul (h, c)", {"c": values(6, 3)}, c="other/logits/kernel")

    (line,) = graph.refuse({"logits/kernel": values(6, 3)})

    assert line.endswith("[E-REPLACEMENT-NOT-FOUND]")


def test_a_parameter_that_an_operator_of_any_sort_reads(graph: Graph) -> None:
    """A normalisation that was taken apart subtracts from its shift."""
    body = "m = Neg (t) r = Reciprocal (v) z = Mul (h, r) y = Sub (z, m)"
    arrays = {"t": values(6), "v": np.abs(values(6, seed=1)) + 1}
    graph.build(body, arrays, t="bn/beta", v="bn/moving_variance")
    beta, variance = values(6, seed=2), np.abs(values(6, seed=3)) + 1

    got = graph.merge({"bn/beta": beta, "bn/moving_variance": variance.astype(np.float32)})

    assert_close(got, graph.hidden / variance + beta)
