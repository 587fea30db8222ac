"""Replacements that have no sure place: dropped biases are added, all else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.command import convert
from tests.fourier_converters.graphs import model
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.layers import Graph, W, assert_close, values

SCALE = np.array(0.1, np.float32)


class TestDroppedBiases:
    """Exporters leave out biases of zeros; what was trained in their place is added."""

    def test_after_a_matmul(self, graph: Graph) -> None:
        graph.build("y = Identity (h)", {})
        new = values(6)

        assert_close(graph.merge({"q.bias": new}), graph.hidden + new)
        assert [n.op_type for n in onnx.load(graph.output).graph.node] == [
            "MatMul",
            "Add",
            "Identity",
        ]

    def test_where_the_matmul_is_the_output(self, tmp_path: Path, graph: Graph) -> None:
        text = "g (float[N, 4] x) => (float[N, 6] y) { [q] y = MatMul (x, w) }"
        save_model(model(text, {"w": W.T}, {"q": "q"}), tmp_path / "base.onnx")
        new = values(6)

        assert_close(graph.merge({"q.bias": new}), graph.hidden + new)

    @pytest.mark.parametrize("empty", ["", ", "])
    def test_of_a_gemm(self, empty: str, graph: Graph) -> None:
        head = values(3, 6)
        graph.build("y = Gemm <transB = 1> (h, c)", {"c": head}, c="head.weight")
        if empty:
            proto = onnx.load(graph.folder / "base.onnx")
            proto.graph.node[1].input.append("")
            save_model(proto, graph.folder / "base.onnx")
        new = values(3, seed=1)

        assert_close(graph.merge({"head.bias": new}), graph.hidden @ head.T + new)

    def test_of_another_length_is_refused(self, graph: Graph) -> None:
        graph.build("y = Identity (h)", {})

        (line,) = graph.refuse({"q.bias": values(7)})

        assert "got (7,) in the adapter" in line
        assert line.endswith("[E-REPLACEMENT-SHAPE]")

    def test_is_not_put_in_the_place_of_a_bias_that_is_scaled(self, graph: Graph) -> None:
        arrays = {"c": values(3, 6), "d": values(3, seed=2)}
        graph.build("y = Gemm <transB = 1, beta = 2.0> (h, c, d)", arrays, c="head.weight")

        (line,) = graph.refuse({"head.bias": values(3, seed=1)})

        assert line.endswith("[E-REPLACEMENT-NOT-FOUND]")

    def test_is_not_added_to_a_bias_that_is_there_under_no_name(self, graph: Graph) -> None:
        """The sum of the old bias and the new one would be a third model."""
        graph.build("y = Add (h, b)", {"b": values(6)})
        new = values(6, seed=1)
        path = graph.folder / "map.json"
        path.write_text('{"replacements": {"q.bias": {"initializer": "b"}}}')

        (line,) = graph.refuse({"q.bias": new})

        assert line.endswith("[E-REPLACEMENT-NOT-FOUND]")
        assert_close(graph.merge({"q.bias": new}, "--map", path), graph.hidden + new)

    def test_does_not_take_the_place_of_a_gemms_bias_under_no_name(self, graph: Graph) -> None:
        arrays = {"c": values(3, 6), "d": values(3)}
        graph.build("y = Gemm <transB = 1> (h, c, d)", arrays, c="head.weight")

        (line,) = graph.refuse({"head.bias": values(3, seed=1)})

        assert line.endswith("[E-REPLACEMENT-NOT-FOUND]")

    @pytest.mark.parametrize("entry", ['{"initializer": "typo"}', '{"node": "typo"}'])
    def test_is_not_guessed_where_the_map_says_another_place(
        self, entry: str, graph: Graph
    ) -> None:
        graph.build("y = Identity (h)", {})
        path = graph.folder / "map.json"
        path.write_text(f'{{"replacements": {{"q.bias": {entry}}}}}')

        (line,) = graph.refuse({"q.bias": values(6)}, "--map", path)

        assert line.endswith("[E-REPLACEMENT-NOT-FOUND]")


class TestRefusals:
    def test_a_head_of_another_size_is_shown_with_both_shapes(self, graph: Graph) -> None:
        graph.build("y = Gemm <transB = 1> (h, c)", {"c": values(3, 6)}, c="head.weight")

        (line,) = graph.refuse({"head.weight": values(5, 6)})

        assert "got (5, 6) in the adapter, expected (3, 6) in the graph" in line
        assert "export the base with as many labels" in line
        assert line.endswith("[E-REPLACEMENT-SHAPE]")

    def test_what_the_graph_lacks_is_named_with_the_map_that_leaves_it_out(
        self, graph: Graph
    ) -> None:
        graph.build("y = Identity (h)", {})
        new = {"pooler.weight": values(6, 6), "pooler.bias": values(6)}

        lines = graph.refuse(new)

        assert len(lines) == 2
        advice = lines[0].split("--map and ")[1].rsplit(" [", 1)[0]
        path = graph.folder / "map.json"
        path.write_text(
            '{"replacements": {"pooler.weight": {"skip": true}, "pooler.bias": {"skip": true}}}'
        )
        assert advice == '{"replacements": {"pooler.weight": {"skip": true}}}'
        assert convert(*graph.arguments(new), "--map", path, "--quiet") == 0

    def test_two_modules_that_could_be_meant_are_not_both_replaced(
        self, tmp_path: Path, graph: Graph
    ) -> None:
        text = """
            g (float[N, 4] x) => (float[N, 3] y, float[N, 3] z) {
                [a] h = MatMul (x, w)
                [b] y = MatMul (h, c)
                [d] i = MatMul (x, v)
                [e] z = MatMul (i, f)
            }
        """
        arrays = {"w": W.T, "v": 2 * W.T, "c": values(6, 3), "f": values(6, 3, seed=1)}
        names = {"a": "one.q", "b": "one.head", "d": "two.q", "e": "two.head"}
        save_model(model(text, arrays, names), tmp_path / "base.onnx")

        (line,) = graph.refuse({"head.weight": values(3, 6, seed=2)})

        assert "could be any of c (one.head), f (two.head)" in line
        assert line.endswith("[E-TARGET-AMBIGUOUS]")

    def test_two_tensors_of_one_module_are_not_both_replaced(self, graph: Graph) -> None:
        arrays = {"c": values(6, 6), "d": values(6, 6, seed=1)}
        body = "[one] i = MatMul (h, c) [two] y = MatMul (i, d)"
        graph.build(body, arrays, {"one": "head", "two": "head"})

        (line,) = graph.refuse({"head.weight": values(6, 6, seed=2)})

        assert "could be any of c (head), d (head)" in line
        assert line.endswith("[E-TARGET-AMBIGUOUS]")

    def test_a_replacement_of_integers_is_refused(self, graph: Graph) -> None:
        graph.build("y = Identity (h)", {})

        (line,) = graph.refuse({"ids": np.arange(3)})

        assert "a replacement of int64, and graphs keep only floats" in line

    def test_two_replacements_cannot_claim_one_use(self, graph: Graph) -> None:
        graph.build("y = Gemm <transB = 1> (h, c)", {"c": values(3, 6)})
        path = graph.folder / "map.json"
        both = '"one.weight": {"initializer": "c"}, "two.weight": {"initializer": "c"}'
        path.write_text(f'{{"replacements": {{{both}}}}}')
        new = {"one.weight": values(3, 6), "two.weight": values(3, 6)}

        (line,) = graph.refuse(new, "--map", path)

        assert line.endswith("[E-USE-CLAIMED]")


@pytest.mark.parametrize(
    ("body", "arrays"),
    [
        ("y = Add (h, b)", {}),
        ("y = com.microsoft.BiasGelu (h, b)", {}),
        ("r = Reshape (h, s) y = Add (r, b)", {"s": np.array([-1, 6])}),
        ("c = Cast <to = 11> (h) d = Cast <to = 1> (c) y = Add (b, d)", {}),
        ("d = DequantizeLinear (b, s) y = Add (h, d)", {"b": np.ones(6, np.int8), "s": SCALE}),
    ],
)
def test_a_layer_whose_bias_has_no_name_is_not_given_a_second_one(
    body: str, arrays: dict[str, Array], graph: Graph
) -> None:
    graph.build(body, {"b": values(6)} | arrays)

    (line,) = graph.refuse({"q.bias": values(6, seed=1)})

    assert "nothing in the graph reads a tensor of this name" in line
    assert line.endswith("[E-REPLACEMENT-NOT-FOUND]")
