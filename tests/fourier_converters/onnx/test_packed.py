"""Packed weights: one matrix that holds several layers, each changed in its own rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import Captured, as_json, convert, refused
from tests.fourier_converters.graphs import digests, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import (
    adapter,
    added,
    assert_added,
    inputs,
    merge,
    set_shape,
    without_prints,
)
from tests.fourier_converters.onnx.quantised import (
    IN,
    Layer,
    dequantize_linear,
    nbits,
    run_plainly,
)

Q, K, V = weight(24, IN), weight(8, IN, seed=1), weight(8, IN, seed=2)
QKV = np.concatenate([Q, K, V])
PARTS: Final = {
    "q_proj": (Q, slice(0, 24)),
    "k_proj": (K, slice(24, 32)),
    "v_proj": (V, slice(32, 40)),
}
GENAI = "/model/layers.0/attn/qkv_proj/MatMul"
SELF_ATTN = "model.layers.0.self_attn"
SPLIT = "y0, y1, y2 = Split <axis = -1> (h, sizes) y = Concat <axis = -1> (y0, y1, y2)"
BIAS = weight(1, 40, seed=6)[0]
SIZES = np.array([24, 8, 8])


def plain(text: str = "[q] y = MatMul (x, w)", **arrays: Array) -> Layer:
    return Layer(f" {text}", {"w": QKV.T} | arrays)


FORMS: Final = {
    "float": plain(),
    "float with an Add": plain("[q] m = MatMul (x, w) y = Add (m, b)", b=BIAS),
    "MatMulNBits": nbits(4, 16, "packed", w=QKV),
    "blocks of QDQ": dequantize_linear("channel", w=QKV),
}


def split(layer: Layer, name: str = GENAI) -> Any:
    """Returns a model in which a Split says which rows are whose."""
    proto = layer.then(SPLIT, sizes=SIZES).model(out="N, 40")
    for node in proto.graph.node:
        node.name = name if node.name == "/enc/q/MatMul" else node.name
    return proto


def changed(whole: Adapter) -> Array:
    """Returns the (40, IN) delta of the packed matrix."""
    total = np.zeros(QKV.shape)
    for target in whole.targets:
        last = target.name.rpartition(".")[2]
        total[PARTS[last][1]] = delta(whole, target.name)
    return total


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("make", [adapter, without_prints])
@pytest.mark.parametrize("meant", [["q_proj"], ["k_proj"], ["q_proj", "v_proj"], [*PARTS]])
def test_each_layer_is_changed_in_its_own_rows(
    meant: list[str], make: Any, name: str, tmp_path: Path
) -> None:
    whole = make({f"{SELF_ATTN}.{part}": PARTS[part][0] for part in meant})

    merge(split(FORMS[name]), whole, tmp_path)

    x = inputs()
    assert_added(added(tmp_path, x=x), x @ changed(whole).T)


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_parts_get_their_branches_in_every_opset(opset: int, tmp_path: Path) -> None:
    sizes = "<axis = -1, split = [24, 8, 8]> (h)" if opset < 13 else "<axis = -1> (h, sizes)"
    layer = FORMS["MatMulNBits"].then(SPLIT.replace("<axis = -1> (h, sizes)", sizes))
    arrays = layer.arrays if opset < 13 else layer.arrays | {"sizes": SIZES}
    proto = Layer(layer.body, arrays).model(opset, out="N, 40")
    proto.graph.node[0].name = GENAI
    whole = without_prints({f"{SELF_ATTN}.k_proj": K})

    merge(proto, whole, tmp_path)

    x = inputs()
    assert_added(added(tmp_path, x=x), x @ changed(whole).T)


def test_the_report_says_which_rows(tmp_path: Path, capsys: Captured) -> None:
    base = save_model(split(FORMS["float"]), tmp_path / "base.onnx")
    whole = without_prints({f"{SELF_ATTN}.k_proj": K, f"{SELF_ATTN}.v_proj": V})

    _, found = as_json(capsys, save(whole, tmp_path), "--to", "onnx", "--base", base)

    assert [row["found"] for row in found["rows"]] == ["w[24:32]", "w[32:40]"]
    assert {row["evidence"] for row in found["rows"]} == {"node path"}
    assert found["notes"] == ["the base's names say 'attn' for 'self_attn'"]


def test_a_gated_mlps_two_layers_are_told_apart(tmp_path: Path) -> None:
    gate, up = weight(16, IN, seed=3), weight(16, IN, seed=4)
    body = " [q] h = MatMul (x, w) g, u = Split <axis = -1, num_outputs = 2> (h) y = Mul (g, u)"
    proto = Layer(body, {"w": np.concatenate([gate, up]).T}).model(out="N, 16")
    proto.graph.node[0].name = "/model/layers.0/mlp/gate_up_proj/MatMul"
    whole = without_prints({"model.layers.0.mlp.up_proj": up})

    output = merge(proto, whole, tmp_path)

    change = delta(whole, "model.layers.0.mlp.up_proj")
    assert np.array_equal(tensor(output, "w").T[:16], gate)
    assert np.allclose(tensor(output, "w").T[16:], up + change, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["float", "MatMulNBits"])
def test_grouped_query_attention_says_which_rows(name: str, bias: bool, tmp_path: Path) -> None:
    """24 rows for 3 query heads of 8, 8 rows for the one head of keys and of values."""
    layer = FORMS[name]
    arrays = {
        "past": np.zeros((1, 1, 0, 8), np.float32),
        "lengths": np.array([4], np.int32),
        "total": np.array(5, np.int32),
    }
    product = "h" if not bias else "i"
    attention = "com.microsoft.GroupQueryAttention <num_heads = 3, kv_num_heads = 1>"
    body = f'y, p, r = {attention} ({product}, "", "", past, past, lengths, total)'
    if bias:
        arrays["b"] = BIAS
        body = f"i = Add (h, b) {body}"
    proto = layer.then(body, **arrays).model(out="1, 5, 24")
    set_shape(proto, [1, 5, IN])
    for node in proto.graph.node:
        node.name = GENAI if node.name == "/enc/q/MatMul" else node.name
    whole = without_prints({f"{SELF_ATTN}.{part}": PARTS[part][0] for part in PARTS})

    output = merge(proto, whole, tmp_path)

    reference = tmp_path / "reference.onnx"
    exact = _with_delta(proto, changed(whole), layer)
    save_model(exact, reference)
    x = inputs(5)[None]
    assert np.allclose(run_plainly(output, x=x), run_plainly(reference, x=x), atol=1e-4)
    assert not np.allclose(run_plainly(output, x=x), run_plainly(tmp_path / "base.onnx", x=x))


def _with_delta(proto: Any, change: Array, layer: Layer) -> Any:
    """Returns the model with x delta^T added to the packed product by hand."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    copy.graph.initializer.append(
        onnx.numpy_helper.from_array(change.T.astype(np.float32), "change")
    )
    at = next(i for i, node in enumerate(copy.graph.node) if node.output[0] == "h")
    copy.graph.node[at].output[0] = "bare"
    helper = onnx.helper
    copy.graph.node.insert(at + 1, helper.make_node("MatMul", ["x", "change"], ["term"]))
    copy.graph.node.insert(at + 2, helper.make_node("Add", ["bare", "term"], ["h"]))
    return copy


def test_a_packed_product_that_lacks_a_layers_bias_is_not_given_a_short_one(
    tmp_path: Path, capsys: Captured
) -> None:
    new = weight(1, 8, seed=11)[0]
    whole = without_prints(
        {f"{SELF_ATTN}.q_proj": Q}, replacements={f"{SELF_ATTN}.k_proj.bias": new}
    )
    base = save_model(split(FORMS["float"]), tmp_path / "base.onnx")

    (line,) = refused(capsys, save(whole, tmp_path), "--to", "onnx", "--base", base)

    assert line.startswith(f"{SELF_ATTN}.k_proj.bias: ")


def test_a_trained_bias_of_a_packed_product_takes_its_own_elements(tmp_path: Path) -> None:
    proto = split(FORMS["float with an Add"])
    proto.graph.node[1].name = "/model/layers.0/attn/qkv_proj/Add"
    new = weight(1, 8, seed=11)[0]
    replacements = {f"{SELF_ATTN}.v_proj.bias": new}
    whole = without_prints({f"{SELF_ATTN}.q_proj": Q}, replacements=replacements)

    output = merge(proto, whole, tmp_path)

    assert np.array_equal(tensor(output, "b")[:32], BIAS[:32])
    assert np.array_equal(tensor(output, "b")[32:], new)


@pytest.mark.parametrize("mode", ["live", "requantize"])
@pytest.mark.parametrize("name", ["MatMulNBits", "blocks of QDQ", "float"])
def test_one_layers_trained_weight_stands_beside_anothers_delta(
    name: str, mode: str, tmp_path: Path
) -> None:
    new = weight(8, IN, seed=12)
    replacements = {f"{SELF_ATTN}.v_proj.weight": new}
    whole = without_prints({f"{SELF_ATTN}.q_proj": Q}, replacements=replacements)

    output = merge(split(FORMS[name]), whole, tmp_path, "--quantized", mode)

    eye = np.eye(IN, dtype=np.float32)
    before, after = (run_plainly(p, x=eye).T for p in (tmp_path / "base.onnx", output))
    exact = before + changed(whole)
    exact[32:] = new
    bar = 1e-5 if mode == "live" or name == "float" else 0.2
    assert np.abs(after - exact).max() <= bar * np.abs(exact).max()
    if name == "MatMulNBits":
        assert np.array_equal(after[24:32], before[24:32])


class TestNotPacked:
    """Splits that do not divide one product's features into layers."""

    @pytest.mark.parametrize(
        "after",
        [
            "a, b, c = Split <axis = 0, num_outputs = 3> (h) y = Concat <axis = 0> (a, b, c)",
            "r = Reshape (h, s) a, b, c = Split <axis = 2, num_outputs = 3> (r) y = Add (a, b)",
        ],
    )
    def test_rows_that_a_split_does_not_name_are_nobodys(
        self, after: str, tmp_path: Path, capsys: Captured
    ) -> None:
        """The second is BLOOM's: query, key and value take turns, head by head."""
        w = weight(48, IN)
        layer = Layer(" [q] h = MatMul (x, w) " + after, {"w": w.T, "s": np.array([0, 2, 24])})
        proto = layer.model(out="N, K")
        proto.graph.node[0].name = "/h.0/attn/qkv/MatMul"
        base = save_model(proto, tmp_path / "base.onnx")
        file = save(without_prints({"h.0.attn.q_proj": w[:16]}), tmp_path)
        before = digests(tmp_path)

        (line,) = refused(capsys, file, "--to", "onnx", "--base", base)

        assert line.endswith("[E-TARGET-NOT-FOUND]")
        assert digests(tmp_path) == before

    def test_the_whole_of_a_packed_weight_can_be_a_target(self, tmp_path: Path) -> None:
        """GPT-2's c_attn is one module."""
        proto = split(plain(), "/h.0/attn/c_attn/MatMul")
        whole = adapter({"h.0.attn.c_attn": QKV})

        output = merge(proto, whole, tmp_path)

        change = delta(whole, "h.0.attn.c_attn")
        assert np.allclose(tensor(output, "w").T, QKV + change, atol=1e-5)


class TestMap:
    def entry(self, folder: Path, rows: list[int], key: str = "targets") -> Path:
        path = folder / "map.json"
        name = "anything" if key == "targets" else "anything.bias"
        path.write_text(json.dumps({key: {name: {"node": "n", "rows": rows}}}))
        return path

    @pytest.mark.parametrize("name", ["float", "MatMulNBits"])
    def test_rows_can_be_named(self, name: str, tmp_path: Path) -> None:
        proto = split(FORMS[name], "n")
        whole = adapter({"anything": K})

        merge(proto, whole, tmp_path, "--map", self.entry(tmp_path, [24, 32]))

        change = np.zeros(QKV.shape)
        change[24:32] = delta(whole, "anything")
        x = inputs()
        assert_added(added(tmp_path, x=x), x @ change.T)

    @pytest.mark.parametrize("rows", [[0, 9], [36, 44], [8, 1]])
    def test_rows_that_are_not_there_are_refused(
        self, rows: list[int], tmp_path: Path, capsys: Captured
    ) -> None:
        base = save_model(split(FORMS["float"], "n"), tmp_path / "base.onnx")
        file = save(adapter({"anything": K}), tmp_path)
        path = self.entry(tmp_path, rows)

        (line,) = refused(capsys, file, "--to", "onnx", "--base", base, "--map", path)

        assert line.endswith("[E-TARGET-NOT-FOUND]")

    @pytest.mark.parametrize("rows", [[0, 9], [36, 44], [8, 1]])
    def test_elements_of_a_bias_that_are_not_there_are_refused(
        self, rows: list[int], tmp_path: Path, capsys: Captured
    ) -> None:
        proto = split(FORMS["float with an Add"], "q")
        proto.graph.node[1].name = "n"
        base = save_model(proto, tmp_path / "base.onnx")
        whole = adapter({"enc.q_proj": Q}, replacements={"anything.bias": weight(1, 8)[0]})
        path = self.entry(tmp_path, rows, "replacements")

        (line,) = refused(
            capsys, save(whole, tmp_path), "--to", "onnx", "--base", base, "--map", path
        )

        assert line.startswith("anything.bias: ")

    def test_a_target_in_rows_that_another_has_is_refused(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        base = save_model(split(FORMS["float"], "n"), tmp_path / "base.onnx")
        path = tmp_path / "map.json"
        entries = {"a": {"node": "n", "rows": [0, 8]}, "b": {"node": "n", "rows": [4, 12]}}
        path.write_text(json.dumps({"targets": entries}))
        file = save(without_prints({"a": K, "b": V}), tmp_path)

        (line,) = refused(capsys, file, "--to", "onnx", "--base", base, "--map", path)

        assert line.endswith("[E-USE-CLAIMED]")
        assert convert(file, "--to", "onnx", "--base", base, "--quiet") == 1
