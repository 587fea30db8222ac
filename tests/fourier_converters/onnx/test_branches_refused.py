"""Quantised weights beside which no branch can stand, and users who want none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import pytest

from fourier_converters.onnx.model import Model
from fourier_converters.onnx.uses import unopened
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import save
from tests.fourier_converters.command import Captured, as_json, refused
from tests.fourier_converters.graphs import digests, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import adapter, set_shape, without_prints
from tests.fourier_converters.onnx.quantised import (
    IN,
    OUT,
    Layer,
    W,
    dequantize_linear,
    integer,
    nbits,
    with_activations,
)

GEMM = dequantize_linear("channel", operator="Gemm")
FUSED = 'com.microsoft.FusedGemm <activation = "Tanh", transB = 1> (x, d)'
OTHERS = weight(2 * OUT, IN, seed=4)


def refuse(proto: object, folder: Path, capsys: Captured, *more: str, prints: bool = True) -> str:
    """Returns the one line of the refusal; nothing is written."""
    base = save_model(proto, folder / "base.onnx")
    file = save((adapter if prints else without_prints)({"enc.q": W}), folder)
    before = digests(folder)

    (line,) = refused(capsys, file, "--to", "onnx", "--base", base, "-o", folder / "m.onnx", *more)

    assert digests(folder) == before
    return line


TRAINED: Final = Layer(
    "c = QuantizeLinear (v, s) d = DequantizeLinear (c, s) [q] y = MatMul (x, d)",
    {"v": W.T, "s": np.array(0.02, np.float32)},
)
CHANNEL: Final = dequantize_linear("channel")
HIDDEN: Final = {
    "1 QuantizeLinear of a weight in floating point, and DequantizeLinear": TRAINED,
    "1 DequantizeLinear of stored codes in a form that is not known": Layer(
        CHANNEL.body.replace("<axis = 1>", "<axis = 1, output_dtype = 17>"), CHANNEL.arrays
    ),
    "1 ConvInteger: an integer convolution": CHANNEL.then(
        "y = Identity (h) r = ConvInteger (w_quantized, w_quantized)"
    ),
}


@pytest.mark.parametrize("said", HIDDEN)
def test_a_form_that_is_not_opened_is_named(said: str, tmp_path: Path) -> None:
    model = Model(save_model(HIDDEN[said].model(), tmp_path / "base.onnx"))

    (line,) = unopened(model)

    assert line.startswith(said)


def test_quantised_activations_and_known_weights_hide_nothing(tmp_path: Path) -> None:
    proto = with_activations(CHANNEL).model()

    assert unopened(Model(save_model(proto, tmp_path / "base.onnx"))) == []


def test_the_refusal_of_a_weight_that_is_quantised_on_the_way_names_the_form(
    tmp_path: Path, capsys: Captured
) -> None:
    line = refuse(TRAINED.model(), tmp_path, capsys)

    assert "not looked into: 1 QuantizeLinear of a weight in floating point" in line


@pytest.mark.parametrize("operator", ["FusedGemm", "FusedMatMul"])
def test_a_node_whose_output_is_no_plain_product_is_named(
    operator: str, tmp_path: Path, capsys: Captured
) -> None:
    product = (
        FUSED
        if operator == "FusedGemm"
        else "com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, d)"
    )
    layer = Layer(GEMM.body.replace("Gemm <transB = 1> (x, d)", product), GEMM.arrays)

    line = refuse(layer.model(), tmp_path, capsys)

    assert line.startswith(f"enc.q: a branch cannot be added to {operator} '/enc/q/MatMul'")
    assert "quantise a graph in which this layer is a MatMul of its own" in line
    assert line.endswith("[E-CONVERSION-UNSUPPORTED]")


def test_a_fused_attention_is_named(tmp_path: Path, capsys: Captured) -> None:
    layer = dequantize_linear("channel", w=np.concatenate([W, OTHERS]))
    body = layer.body.replace(
        "[q] y = MatMul (x, d)", "[a] y = com.microsoft.Attention <num_heads = 2> (x, d)"
    )
    proto = Layer(body, layer.arrays).model(out=f"N, 3, {OUT}")

    line = refuse(proto, tmp_path, capsys)

    assert line.startswith("enc.q: a branch cannot be added to Attention 'a'")


def test_rows_of_a_quantised_kernel_are_not_a_products_features(
    tmp_path: Path, capsys: Captured
) -> None:
    codes = np.ones((6, 4, 3, 3), np.int8)
    body = " d = DequantizeLinear (w, s) [q] y = Conv (x, d)"
    layer = Layer(body, {"w": codes, "s": np.array(0.1, np.float32)})
    proto = set_shape(layer.model(), ["N", 4, "H", "V"], ["N", 6, "I", "J"])
    base = save_model(proto, tmp_path / "base.onnx")
    path = tmp_path / "map.json"
    path.write_text('{"targets": {"part": {"node": "/enc/q/MatMul", "rows": [0, 3]}}}')
    file = save(without_prints({"part": weight(3, 36)}, kind="conv2d"), tmp_path)

    (line,) = refused(capsys, file, "--to", "onnx", "--base", base, "--map", path)

    assert line.startswith("part: a branch cannot be added to rows of Conv '/enc/q/MatMul'")


def test_integers_that_nothing_here_made_of_floats_have_no_branch(
    tmp_path: Path, capsys: Captured
) -> None:
    """Another part of the model hands on integers: the floats that they stand for are not there."""
    layer = integer("MatMulIntegerToFloat")
    body = layer.body.split("DynamicQuantizeLinear (x)", 1)[1]
    arrays = layer.arrays | {"x_zero_point": np.array(0, np.uint8)}
    body = f"a = Cast <to = 2> (x) x_scale = ReduceMax <keepdims = 0> (x) {body}"
    proto = Layer(body, arrays).model()

    line = refuse(proto, tmp_path, capsys)

    assert "a branch cannot be added to MatMulIntegerToFloat '/enc/q/MatMul'" in line


@pytest.mark.parametrize(("shown", "element"), [("p", "INT32"), ("c", "FLOAT")])
def test_an_integer_product_that_is_shown_before_it_is_scaled_is_not_opened(
    shown: str, element: str, tmp_path: Path, capsys: Captured
) -> None:
    proto = integer("MatMulInteger").model()
    proto.graph.output.add().CopyFrom(proto.graph.output[0])
    proto.graph.output[1].name = shown
    proto.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(element)

    line = refuse(proto, tmp_path, capsys)

    assert "not looked into: 1 MatMulInteger whose weight is not constant" in line


@pytest.mark.parametrize(
    ("layer", "scheme"),
    [
        (nbits(), "MatMulNBits int4, blocks of 16"),
        (dequantize_linear("channel"), "QDQ int8, per axis 1"),
        (integer("MatMulInteger"), "dynamic int8, per column"),
    ],
)
def test_a_user_who_wants_no_branch_gets_none(
    layer: Layer, scheme: str, tmp_path: Path, capsys: Captured
) -> None:
    line = refuse(layer.model(), tmp_path, capsys, "--quantized", "refuse")

    (codes,) = (name for name in layer.arrays if name in {"w_Q", "w_quantized"})
    assert line.startswith(f"enc.q: its weight {codes} is quantised ({scheme})")
    assert "use --quantized live (exact, beside the weight) or requantize" in line


def test_another_models_quantised_weight_is_not_the_targets(
    tmp_path: Path, capsys: Captured
) -> None:
    line = refuse(nbits(w=weight(OUT, IN, seed=7)).model(), tmp_path, capsys)

    assert line.endswith("[E-BASE-MISMATCH]")


@pytest.mark.parametrize(
    ("body", "arrays", "said"),
    [
        (
            "y = com.microsoft.QGemm <transB = 1> (x, s, z, w, s, z, b, s, z)",
            {"s": np.ones((), np.float32), "z": np.zeros((), np.int8), "w": W.astype(np.int8)},
            "not looked into: 1 QGemm: QOperator format",
        ),
        (
            "y = com.microsoft.MatMulNBits <K = 40, N = 24, bits = 4, block_size = 16> (x, x, x)",
            {},
            "not looked into: 1 MatMulNBits whose weight is not constant",
        ),
        (
            "i = Cast <to = 7> (x) e = Gather (w, i) y = DequantizeLinear (e, s)",
            {"s": np.ones((), np.float32), "w": W.astype(np.int8)},
            "not looked into: 1 Gather of an embedding's codes, which are dequantised behind it",
        ),
    ],
)
def test_what_hides_weights_is_said_where_a_target_is_not_found(
    body: str, arrays: dict[str, Array], said: str, tmp_path: Path, capsys: Captured
) -> None:
    line = refuse(Layer(body, arrays).model(), tmp_path, capsys)

    assert said in line
    assert line.endswith("[E-TARGET-NOT-FOUND]")


def test_the_report_says_what_became_of_quantised_weights(tmp_path: Path, capsys: Captured) -> None:
    base = save_model(nbits().model(), tmp_path / "base.onnx")
    file = save(adapter({"enc.q": W}), tmp_path)

    _, found = as_json(capsys, file, "--to", "onnx", "--base", base, "--verify", "full")

    (row,) = found["rows"]
    scheme = "MatMulNBits int4, blocks of 16"
    assert row["kept"] is None
    assert row["evidence"] == "fingerprint + node path"
    assert found["notes"] == [
        f"1 targets on quantised weights got a branch in full precision ({scheme})",
        f"enc.q: SHA-256 not comparable, the base holds {scheme} and the fingerprint is of F32",
        "on a quantised base the fingerprint proves which weight it is, not which checkpoint",
    ]
