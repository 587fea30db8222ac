"""Names in a graph: which module a use of a weight belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper, parser

from fourier_converters.onnx import evidence
from fourier_converters.onnx.evidence import is_further_call, module_of
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.operators import role
from fourier_converters.onnx.uses import find_uses
from tests.fourier_converters.adapters import adapter, delta, save, without_prints
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import (
    LINEAR,
    matrix,
    model,
    set_scopes,
    tensor,
    weight,
)
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.merged import rename

W = weight()


def paths(proto: Any, folder: Path) -> dict[str, str]:
    """Returns what the most trusted source says of the first use."""
    found = Model(save_model(proto, folder / "m.onnx"))
    stated = module_of(found, find_uses(found)[0])
    return {} if stated is None else {stated[1]: stated[0]}


class TestNameScopes:
    @pytest.mark.parametrize(
        ("scopes", "module"),
        [
            ("['', 'encoder', 'encoder.q', 'linear']", "encoder.q"),
            ("('', 'q', 'linear')", None),
            ("['', 'linear']", None),
            ("['linear']", None),
            ("[]", None),
            ("['q', 3]", "q"),
            ("[3, 'linear']", None),
            ("[['q'], 'linear']", None),
        ],
    )
    def test_the_last_but_one_is_the_module(
        self, scopes: str, module: str | None, tmp_path: Path
    ) -> None:
        proto = model(LINEAR, {"val_1": W.T})
        set_scopes(proto.graph.node[0], scopes)

        assert paths(proto, tmp_path).get("name scopes") == module

    @pytest.mark.parametrize(
        "garbage",
        [
            "",
            "encoder.q",
            "['', 'q'",
            "[" * 5000,
            "-" * 200_000 + "1",
            "__import__('os').system('false')",
            "{[]: 'unhashable', 'q': 1}",
            "['q\0', 'linear']",
            "['\udcff'".encode("utf-8", "replace").decode(),
            "[" + "9" * 5000 + ", 'q', 'linear']",
            r"['\d', 'q', 'linear'",
            "b'bytes'",
            "'a' 'b'",
        ],
    )
    def test_garbage_says_nothing_and_does_no_harm(self, garbage: str, tmp_path: Path) -> None:
        proto = model(LINEAR, {"val_1": W.T})
        set_scopes(proto.graph.node[0], garbage)

        assert paths(proto, tmp_path) == {}

    def test_dynamos_two_calls_of_one_module_are_both_its_uses(self, tmp_path: Path) -> None:
        proto = model(TWICE, {"w1": W.T, "w2": W.T}, {"one": "enc.q", "two": "enc.q"})
        base = save_model(proto, tmp_path / "b.onnx")
        whole = adapter({"enc.q": W})

        converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        expected = (W + delta(whole, "enc.q")).T
        for name in ("w1", "w2"):
            assert np.allclose(tensor(tmp_path / "m.onnx", name), expected, atol=1e-6)


TWICE = """
    g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
        [one] y = MatMul (x, w1)
        [two] z = MatMul (x, w2)
    }
"""


class TestNodePaths:
    @pytest.mark.parametrize(
        ("name", "module"),
        [
            ("/encoder/layer.0/query/MatMul", "encoder.layer.0.query"),
            ("/query/MatMul", "query"),
            ("/MatMul", None),
            ("MatMul_3", None),
            ("encoder/query/MatMul", None),
            ("", None),
            ("/", None),
        ],
    )
    def test_torchscript_names_nodes_by_their_path(
        self, name: str, module: str | None, tmp_path: Path
    ) -> None:
        proto = model(LINEAR, {"val_1": W.T})
        proto.graph.node[0].name = name

        assert paths(proto, tmp_path).get("node path") == module

    @pytest.mark.parametrize(
        ("path", "further"),
        [
            ("enc.query_1", True),
            ("enc.query_12", True),
            ("enc.query", False),
            ("enc.query_1b", False),
            ("enc.query_", False),
            ("enc.query_1.dense", False),
            ("enc_1.query", False),
        ],
    )
    def test_a_further_call_gets_a_count(self, path: str, further: bool) -> None:
        assert is_further_call(path, "enc.query") == further

    @staticmethod
    def twice(second: Any, folder: Path) -> Path:
        proto = model(TWICE, {"w1": W.T, "w2": second})
        proto.graph.node[0].name = "/enc/query/MatMul"
        proto.graph.node[1].name = "/enc/query_1/MatMul"
        return save_model(proto, folder / "b.onnx")

    @pytest.mark.parametrize("make", [adapter, without_prints])
    def test_a_second_call_of_equal_weight_is_changed_too(self, make: Any, tmp_path: Path) -> None:
        whole = make({"enc.query": W})
        base = self.twice(W.T, tmp_path)

        converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        expected = (W + delta(whole, "enc.query")).T
        for name in ("w1", "w2"):
            assert np.allclose(tensor(tmp_path / "m.onnx", name), expected, atol=1e-6)

    @pytest.mark.parametrize("make", [adapter, without_prints])
    def test_a_sibling_that_is_called_so_but_differs_is_left_alone(
        self, make: Any, tmp_path: Path
    ) -> None:
        whole = make({"enc.query": W})
        other = weight(seed=1).T
        base = self.twice(other, tmp_path)

        converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        assert np.array_equal(tensor(tmp_path / "m.onnx", "w2"), other)
        expected = (W + delta(whole, "enc.query")).T
        assert np.allclose(tensor(tmp_path / "m.onnx", "w1"), expected, atol=1e-6)

    def test_a_sibling_that_is_a_target_itself_is_no_second_call(self, tmp_path: Path) -> None:
        whole = adapter({"enc.query": W, "enc.query_1": W})
        base = self.twice(W.T, tmp_path)

        converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        for name, target in (("w1", "enc.query"), ("w2", "enc.query_1")):
            expected = (W + delta(whole, target)).T
            assert np.allclose(tensor(tmp_path / "m.onnx", name), expected, atol=1e-6)

    def test_a_sibling_with_parameters_of_its_own_name_is_no_second_call(
        self, tmp_path: Path
    ) -> None:
        proto = model(TWICE, {"w1": W.T, "w2": W.T, "b": np.ones(6, np.float32)})
        for number, name in enumerate(("query", "query_1")):
            proto.graph.node[number].name = f"/enc/{name}/MatMul"
        proto.graph.initializer[2].name = "enc.query_1.bias"
        base = save_model(proto, tmp_path / "b.onnx")
        whole = adapter({"enc.query": W})

        converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

        assert np.array_equal(tensor(tmp_path / "m.onnx", "w2"), W.T)


class TestParametersNames:
    @pytest.mark.parametrize(
        ("name", "module"),
        [
            ("enc.q.weight", "enc.q"),
            ("enc.q.weight_transposed", "enc.q"),
            ("enc.q.MatMul.weight", "enc.q.MatMul"),
            ("val_56", None),
            ("onnx::MatMul_350", None),
            ("weight", None),
            ("enc.q.weights", None),
        ],
    )
    def test_an_initializer_may_keep_its_parameters_name(
        self, name: str, module: str | None, tmp_path: Path
    ) -> None:
        text = LINEAR.replace("val_1", "w")
        proto = model(text, {"w": W.T})
        proto.graph.node[0].input[1] = proto.graph.initializer[0].name = name

        assert paths(proto, tmp_path).get("initializer name") == module

    GEMM = """
        g (float[N, 4] x) => (float[N, 6] y) {
            y = Gemm <transB = 1> (x, val_1, bias)
        }
    """
    ADD = """
        g (float[N, 4] x) => (float[N, 6] y) {
            h = MatMul (x, val_1)
            y = Add (bias, h)
        }
    """

    @pytest.mark.parametrize("text", [GEMM, ADD])
    @pytest.mark.parametrize(
        ("bias", "module"), [("enc.q.bias", "enc.q"), ("val_2", None), ("enc.q.weight", None)]
    )
    def test_a_neighbouring_bias_may_say_it(
        self, text: str, bias: str, module: str | None, tmp_path: Path
    ) -> None:
        proto = model(text, {"val_1": W if "Gemm" in text else W.T, "b": np.ones(6, np.float32)})
        proto.graph.initializer[1].name = bias
        node = proto.graph.node[-1]
        node.input[list(node.input).index("bias")] = bias

        assert paths(proto, tmp_path).get("neighbouring bias") == module

    def test_a_residual_that_is_added_is_no_bias(self, tmp_path: Path) -> None:
        text = """
            g (float[N, 4] x, float[N, 6] residual) => (float[N, 6] y) {
                h = MatMul (x, val_1)
                y = Add (h, residual)
            }
        """

        assert paths(model(text, {"val_1": W.T}), tmp_path) == {}


def neighbour(body: str, folder: Path, **arrays: Any) -> str | None:
    """Returns the module whose bias, enc.q.bias, is seen next to a product h."""
    text = f"""
        <ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>
        g (float[N, 4] x, float[N, 6] r) => (float[N, 6] y) {{
            {body}
        }}
    """
    proto = parser.parse_model(text)
    given = {"v": W.T, "b": np.ones(6, np.float32)} | arrays
    for name, array in given.items():
        stored = np.asarray(array, order="C")
        proto.graph.initializer.append(numpy_helper.from_array(stored, name))
    rename(proto, "b", "enc.q.bias")
    return paths(proto, folder).get("neighbouring bias")


FEATURES = np.ones(6, np.float32)


@pytest.mark.parametrize(
    ("body", "arrays", "module"),
    [
        ("i = Mul (h, s)", {"s": FEATURES}, None),
        ("i = Mul (s, h)", {"s": FEATURES}, None),
        ("t = Cast <to = 1> (s) i = Mul (h, t)", {"s": FEATURES.astype(np.float16)}, None),
        ("i = Mul (h, s)", {"s": FEATURES[0]}, "enc.q"),
        ("i = Mul (h, s)", {"s": FEATURES[:1]}, "enc.q"),
        ("t = Sigmoid (r) i = Mul (h, t)", {}, "enc.q"),
    ],
)
def test_a_bias_behind_a_scale_of_features_is_not_the_products(
    body: str, arrays: dict[str, Any], module: str | None, tmp_path: Path
) -> None:
    whole = f"h = MatMul (x, v) {body} y = Add (i, b)"

    assert neighbour(whole, tmp_path, **arrays) == module


def test_a_bias_behind_the_scales_of_an_integer_product_is_the_products(tmp_path: Path) -> None:
    body = """
        a, x_s, x_z = DynamicQuantizeLinear (x)
        h = MatMulInteger (a, w, x_z)
        c = Cast <to = 1> (h)
        p = Mul (x_s, w_s)
        i = Mul (c, p)
        y = Add (i, b)
    """
    arrays = {"w": np.ones((4, 6), np.int8), "w_s": FEATURES}

    assert neighbour(body, tmp_path, **arrays) == "enc.q"


@pytest.mark.parametrize(("inputs", "module"), [("h, r", "enc.q"), ("r, h", None)])
def test_a_fused_normalisations_bias_is_its_first_inputs(
    inputs: str, module: str | None, tmp_path: Path
) -> None:
    body = f"""
        h = MatMul (x, v)
        y = com.microsoft.SkipLayerNormalization ({inputs}, s, t, b)
    """

    assert neighbour(body, tmp_path, s=FEATURES, t=FEATURES) == module


def test_what_reads_a_product_many_times_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a few kilobytes could keep the search busy for minutes."""
    many = ", ".join(["h"] * 200)
    text = f"""
        g (float[N, 4] x) => (float[N, 1200] y, float[N, 6] z) {{
            h = MatMul (x, val_1)
            y = Concat <axis = -1> ({many})
            i = Mul ({many})
            j = Mul ({many}, i)
            z = Add (j, {many})
        }}
    """
    looked_at: list[tuple[str, int]] = []

    def counted(node: Any, slot: int) -> str | None:
        looked_at.append((node.op_type, slot))
        return role(node, slot)

    monkeypatch.setattr(evidence, "role", counted)

    assert paths(model(text, {"val_1": W.T}), tmp_path) == {}
    assert 0 < len(looked_at) < 100


def test_the_more_trusted_source_decides(tmp_path: Path) -> None:
    """Exporters share equal tensors, so a tensor's name may be another module's."""
    text = """
        g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
            [one] y = MatMul (x, w)
            [two] z = MatMul (x, v)
        }
    """
    proto = model(text, {"w": W.T, "v": W.T}, {"one": "a.q", "two": "b.q"})
    proto.graph.initializer[0].name = proto.graph.node[0].input[1] = "b.q.weight"
    base = save_model(proto, tmp_path / "b.onnx")
    whole = adapter({"b.q": W})

    converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

    assert np.array_equal(tensor(tmp_path / "m.onnx", "b.q.weight"), W.T)
    assert np.allclose(tensor(tmp_path / "m.onnx", "v"), (W + delta(whole, "b.q")).T, atol=1e-6)


def test_a_graph_without_any_name_is_matched_by_the_fingerprint(tmp_path: Path) -> None:
    proto = model(LINEAR, {"val_1": W.T})
    proto.graph.node[0].name = ""
    base = save_model(proto, tmp_path / "b.onnx")
    whole = adapter({"enc.q": W})

    converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", tmp_path / "m.onnx")

    merged = matrix(tmp_path / "m.onnx", 4)
    assert np.allclose(merged, W + delta(whole, "enc.q"), atol=1e-6)
