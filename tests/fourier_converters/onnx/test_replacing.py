"""Replacements: whole tensors trained beside the adapter take over what the graph has."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import tensor
from tests.fourier_converters.onnx.layers import Graph, assert_close, values


class TestBiases:
    @pytest.mark.parametrize("body", ["y = Add (h, b)", "y = Add (b, h)"])
    @pytest.mark.parametrize("how", ["scope", "name"])
    def test_of_an_add(self, how: str, body: str, graph: Graph) -> None:
        if how == "scope":
            graph.build(f"[add] {body}", {"b": values(6)}, {"add": "q"})
        else:
            graph.build(body, {"b": values(6)}, b="q.bias")
        new = values(6, seed=1)

        assert_close(graph.merge({"q.bias": new}), graph.hidden + new)

    def test_of_a_gemm(self, graph: Graph) -> None:
        head = values(3, 6)
        arrays = {"c": head, "d": values(3)}
        graph.build("y = Gemm <transB = 1> (h, c, d)", arrays, c="head.weight", d="head.bias")
        new = values(3, seed=1)

        assert_close(graph.merge({"head.bias": new}), graph.hidden @ head.T + new)

    def test_one_that_other_modules_share_is_cloned(self, graph: Graph) -> None:
        """Exporters share equal tensors, above all biases of zeros."""
        arrays = {"z": np.zeros(6, np.float32)}
        graph.build("[one] a = Add (h, z) [two] y = Add (a, z)", arrays, {"one": "q", "two": "n"})
        new = values(6)

        assert_close(graph.merge({"q.bias": new}), graph.hidden + new)
        assert not tensor(graph.output, "z").any()


class TestOtherParameters:
    def test_of_a_layer_normalization(self, graph: Graph) -> None:
        arrays = {"s": values(6), "t": values(6, seed=1)}
        body = "y = LayerNormalization (h, s, t)"
        graph.build(body, arrays, s="norm.weight", t="norm.bias")
        new = {"norm.weight": values(6, seed=2), "norm.bias": values(6, seed=3)}

        got = graph.merge(new)

        h = graph.hidden
        normal = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
        assert np.allclose(got, normal * new["norm.weight"] + new["norm.bias"], atol=1e-5)

    def test_of_an_embedding(self, graph: Graph) -> None:
        arrays = {"e": values(3, 6), "i": np.array([1, 1, 2, 0])}
        graph.build("p = Gather (e, i) y = Add (h, p)", arrays, e="embed.weight")
        new = values(3, 6, seed=1)

        assert_close(graph.merge({"embed.weight": new}), graph.hidden + new[[1, 1, 2, 0]])

    @pytest.mark.parametrize("out", [3, 6], ids=["oblong", "square"])
    def test_of_a_renamed_and_transposed_head(self, out: int, graph: Graph) -> None:
        graph.build("[head] y = MatMul (h, c)", {"c": values(6, out)}, {"head": "classifier"})
        new = values(out, 6, seed=1)

        assert_close(graph.merge({"classifier.weight": new}), graph.hidden @ new.T)

    @pytest.mark.parametrize("out", [3, 6], ids=["oblong", "square"])
    def test_of_a_head_under_its_own_name(self, out: int, graph: Graph) -> None:
        body = "y = Gemm <transB = 1> (h, c)"
        graph.build(body, {"c": values(out, 6)}, c="classifier.weight")
        new = values(out, 6, seed=1)

        assert_close(graph.merge({"classifier.weight": new}), graph.hidden @ new.T)

    @pytest.mark.parametrize(("model_type", "transposed"), [("gpt2", False), ("gpt_bigcode", True)])
    def test_of_a_module_that_some_models_store_transposed(
        self, model_type: str, transposed: bool, graph: Graph
    ) -> None:
        graph.build("y = MatMul (h, c)", {"c": values(6, 6)}, c="h.c_proj.weight")
        new = values(6, 6, seed=1)

        got = graph.merge({"h.c_proj.weight": new}, base_model={"model_type": model_type})

        assert_close(got, graph.hidden @ (new.T if transposed else new))

    def test_of_such_a_module_of_an_unknown_model_needs_the_map(self, graph: Graph) -> None:
        graph.build("y = MatMul (h, c)", {"c": values(6, 6)}, c="h.c_proj.weight")
        new = values(6, 6, seed=1)
        path = graph.folder / "map.json"
        entry = '{"initializer": "h.c_proj.weight", "layout": "in_out"}'
        path.write_text(f'{{"replacements": {{"h.c_proj.weight": {entry}}}}}')

        (line,) = graph.refuse({"h.c_proj.weight": new})

        assert line.endswith("[E-ORIENTATION-UNKNOWN]")
        assert_close(graph.merge({"h.c_proj.weight": new}, "--map", path), graph.hidden @ new)

    def test_an_explanation_keeps_what_the_map_says_of_its_layout(self, graph: Graph) -> None:
        graph.build("y = MatMul (h, c)", {"c": values(6, 6)}, c="h.c_proj.weight")
        new = values(6, 6, seed=1)
        given, explained = graph.folder / "map.json", graph.folder / "explained.json"
        given.write_text('{"replacements": {"h.c_proj.weight": {"layout": "in_out"}}}')
        replaced = {"h.c_proj.weight": new}
        graph.merge(replaced, "--map", given, "--explain", explained)

        again = graph.merge(replaced, "--map", explained, "--force")

        assert_close(again, graph.hidden @ new)

    def test_of_a_target_itself_comes_before_its_delta(self, graph: Graph) -> None:
        """PEFT saves a tied head's weight; the delta was trained on that."""
        graph.build("y = Identity (h)", {})
        new = values(6, 4, seed=1)

        got = graph.merge({"q.weight": new})

        assert_close(got, (new + delta(graph.whole, "q")).T)

    def test_in_another_precision_are_rounded_to_the_graphs(self, graph: Graph) -> None:
        graph.build("y = Gemm <transB = 1> (h, c)", {"c": values(3, 6)}, c="head.weight")
        new = np.random.default_rng(1).standard_normal((3, 6))

        graph.merge({"head.weight": new})

        assert np.array_equal(tensor(graph.output, "head.weight"), new.astype(np.float32))


def test_the_map_says_where_a_replacement_goes(graph: Graph) -> None:
    graph.build("y = MatMul (h, c)", {"c": values(6, 3)})
    path = graph.folder / "map.json"
    path.write_text('{"replacements": {"classifier.weight": {"initializer": "c"}}}')
    new = values(3, 6, seed=1)

    assert_close(graph.merge({"classifier.weight": new}, "--map", path), graph.hidden @ new.T)


@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_of_a_node_that_reads_several_parameters_the_map_means_the_one_of_that_name(
    parameter: str, graph: Graph
) -> None:
    head, bias = values(3, 6), values(3)
    graph.build("[n] y = Gemm <transB = 1> (h, c, d)", {"c": head, "d": bias})
    new = {"weight": values(3, 6, seed=1), "bias": values(3, seed=1)}[parameter]
    path = graph.folder / "map.json"
    path.write_text(f'{{"replacements": {{"head.{parameter}": {{"node": "n"}}}}}}')

    got = graph.merge({f"head.{parameter}": new}, "--map", path)

    weight, added = (new, bias) if parameter == "weight" else (head, new)
    assert_close(got, graph.hidden @ weight.T + added)
