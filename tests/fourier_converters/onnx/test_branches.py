"""Branches: what is added beside a quantised weight is x delta^T, whatever the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import initializers, run
from tests.fourier_converters.onnx.branched import (
    adapter,
    added,
    assert_added,
    convolved,
    inputs,
    merge,
    set_shape,
    without_prints,
)
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.quantised import (
    IN,
    OUT,
    Layer,
    W,
    by_groups,
    by_microsoft,
    cast_and_mul,
    dequantize_linear,
    integer,
    nbits,
    run_plainly,
    with_activations,
)

NEW = np.random.default_rng(8).standard_normal((OUT, IN)).astype(np.float32)
BIAS = np.random.default_rng(5).standard_normal(OUT).astype(np.float32)


def _by_microsoft(layer: Layer) -> Layer:
    """Returns the layer with all its pairs in ONNX Runtime's own domain."""
    body = layer.body
    for operator in (" QuantizeLinear", " DequantizeLinear"):
        body = body.replace(operator, f" com.microsoft.{operator.strip()}")
    return Layer(body, layer.arrays, layer.dtype)


FORMS: Final = {
    "MatMulNBits": nbits(zero="packed"),
    "MatMulNBits with its own bias": nbits(bits=8, bias=BIAS),
    "MatMulNBits with an Add": nbits().then("y = Add (h, b)", b=BIAS),
    "MatMul behind a DequantizeLinear": dequantize_linear("channel"),
    "MatMul behind blocks of int4": dequantize_linear("block", ml_dtypes.int4),
    "MatMul with quantised activations": with_activations(dequantize_linear()),
    "Gemm behind a DequantizeLinear": dequantize_linear("channel", operator="Gemm"),
    "Gemm with quantised activations": with_activations(dequantize_linear(operator="Gemm")),
    "MatMul behind ONNX Runtime's DequantizeLinear": by_microsoft("channel"),
    "MatMul with activations of ONNX Runtime's QDQ": _by_microsoft(
        with_activations(dequantize_linear())
    ),
    "Cast and Mul": cast_and_mul(),
    "MatMulInteger": integer("MatMulInteger"),
    "MatMulInteger with an Add": integer("MatMulInteger", bias=BIAS),
    "MatMulIntegerToFloat": integer("MatMulIntegerToFloat", bias=BIAS),
    "DynamicQuantizeMatMul": integer("DynamicQuantizeMatMul", "tensor", bias=BIAS),
    "float16 MatMulNBits": nbits(dtype=np.float16, zero="packed"),
    "float16 MatMul behind a DequantizeLinear": dequantize_linear("channel", scales=np.float16),
    "float16 Cast of a float32 DequantizeLinear": Layer(
        dequantize_linear().body.replace(
            "[q] y = MatMul (x, d)", "f = Cast <to = 10> (d) [q] y = MatMul (x, f)"
        ),
        dequantize_linear().arrays,
        np.float16,
    ),
    "float16 Cast and Mul": cast_and_mul(dtype=np.float16),
}
DENSE = 20
"""Coefficients for which a delta takes less room than its cosines and sines."""


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("form", ["dense", "factored"])
def test_the_branch_is_the_exact_delta(form: str, name: str, tmp_path: Path) -> None:
    layer = FORMS[name]
    whole = adapter({"enc.q": W}, count=DENSE if form == "dense" else 5)

    output = merge(layer.model(), whole, tmp_path)

    x = inputs(dtype=layer.dtype)
    got = added(tmp_path, x=x)
    assert_added(got, x.astype(np.float64) @ delta(whole, "enc.q").T, layer.dtype)
    assert any(n.startswith("fourier.") for n in initializers(output)) == (form == "factored")
    (y,) = run(output, x=x)
    assert np.isfinite(y).all()


def test_a_branch_has_the_dtype_that_a_dequantize_linear_says(tmp_path: Path) -> None:
    """Since opset 23; else that of the scales."""
    layer = dequantize_linear("channel")
    body = layer.body.replace("<axis = 1>", "<axis = 1, output_dtype = 10>")
    proto = Layer(body, layer.arrays, np.float16).model(23)
    proto.ir_version = 11
    whole = adapter({"enc.q": W})

    merge(proto, whole, tmp_path)

    x = inputs(dtype=np.float16)
    got = added(tmp_path, x=x)
    assert_added(got, x.astype(np.float64) @ delta(whole, "enc.q").T, np.float16)


@pytest.mark.parametrize(
    ("name", "opset"),
    [
        ("MatMulNBits", 11),
        ("MatMulNBits", 13),
        ("MatMulNBits", 20),
        ("MatMul with quantised activations", 11),
        ("MatMul behind a DequantizeLinear", 13),
        ("MatMulInteger", 11),
        ("MatMulInteger", 20),
        ("Cast and Mul", 11),
    ],
)
def test_models_of_older_opsets_get_their_branch(name: str, opset: int, tmp_path: Path) -> None:
    whole = adapter({"enc.q": W})

    merge(FORMS[name].model(opset), whole, tmp_path)

    x = inputs()
    assert_added(added(tmp_path, x=x), x @ delta(whole, "enc.q").T)


@pytest.mark.parametrize("name", FORMS)
def test_the_codes_and_the_names_of_outputs_stay(name: str, tmp_path: Path) -> None:
    layer = FORMS[name]

    output = merge(layer.model(), without_prints({"enc.q": W}), tmp_path)

    before, after = layer.model(), onnx.load(output)
    assert after.graph.output == before.graph.output
    assert after.graph.input == before.graph.input
    kept = {t.name: t for t in after.graph.initializer}
    assert all(kept[t.name] == t for t in before.graph.initializer)


def test_an_adapter_without_fingerprints_is_as_good(tmp_path: Path) -> None:
    whole = without_prints({"enc.q": W})

    merge(FORMS["MatMulNBits"].model(), whole, tmp_path)

    x = inputs()
    assert_added(added(tmp_path, x=x), x @ delta(whole, "enc.q").T)


def test_entry_sets_that_targets_share_are_stored_once(tmp_path: Path) -> None:
    layer = nbits()
    second = layer.body.replace("[q] y", "[k] z")
    proto = Layer(layer.body + second, layer.arrays).model(out=f"N, {OUT}")
    proto.graph.output.add().CopyFrom(proto.graph.output[0])
    proto.graph.output[1].name = "z"
    proto.graph.node[1].name = "/enc/k/MatMul"
    whole = without_prints({"enc.q": W, "enc.k": W})

    output = merge(proto, whole, tmp_path)

    bases = [n for n in initializers(output) if n.startswith("fourier.")]
    assert len(bases) == 2 * len(whole.entry_sets)
    x = inputs()
    assert_added(added(tmp_path, x=x), x @ delta(whole, "enc.q").T)


class TestOtherOperators:
    def test_a_quantised_convolution(self, tmp_path: Path) -> None:
        kernel = np.random.default_rng(1).standard_normal((6, 2, 3, 3)).astype(np.float32)
        scale = (np.abs(kernel).max((1, 2, 3)) / 127).astype(np.float32)
        codes = np.rint(kernel / scale[:, None, None, None]).astype(np.int8)
        attributes = "group = 2, pads = [1, 1, 1, 1], strides = [2, 1]"
        body = f"""
            d = DequantizeLinear <axis = 0> (w, s)
            [q] y = Conv <{attributes}> (x, d, b)
        """
        layer = Layer(body, {"w": codes, "s": scale, "b": BIAS[:6]})
        proto = layer.model(out="N, 6, H, V")
        set_shape(proto, ["N", 4, "H", "V"])
        whole = adapter({"enc.q": kernel.reshape(6, 18)}, kind="conv2d")

        merge(proto, whole, tmp_path)

        x = np.random.default_rng(2).standard_normal((2, 4, 7, 5)).astype(np.float32)
        change = delta(whole, "enc.q").reshape(6, 2, 3, 3)
        assert_added(added(tmp_path, x=x), convolved(x, change, 2, (2, 1)))

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    def test_a_quantised_embedding(self, dtype: Any, tmp_path: Path) -> None:
        found = by_groups(W, "channel", 1, np.int8, symmetric=True)
        arrays = {"w": found.codes.astype(np.int8), "s": found.scale.astype(dtype)}
        body = " d = DequantizeLinear <axis = 0> (w, s) [q] y = Gather (d, x)"
        proto = Layer(body, arrays, dtype).model(out=f"N, {IN}")
        proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
        set_shape(proto, ["N"])
        whole = adapter({"enc.q": W.T}, kind="embedding", count=DENSE)

        merge(proto, whole, tmp_path)

        ids = np.array([3, 0, 23, 3])
        assert_added(added(tmp_path, x=ids), delta(whole, "enc.q").T[ids], dtype)

    @pytest.mark.parametrize(
        ("equation", "shape", "order", "rank"),
        [
            ("abc,cde->abde", (IN, 4, 6), (1, 2, 0), 3),
            ("abde,dec->abc", (4, 10, OUT), (2, 0, 1), 4),
        ],
    )
    def test_a_quantised_einsum(
        self,
        equation: str,
        shape: tuple[int, ...],
        order: tuple[int, ...],
        rank: int,
        tmp_path: Path,
    ) -> None:
        inverse = np.argsort(order)
        kernel = W.reshape([shape[axis] for axis in order]).transpose(inverse)
        scale = np.float32(np.abs(W).max() / 127)
        codes = np.rint(kernel / scale).astype(np.int8)
        body = f' d = DequantizeLinear (w, s) [q] y = Einsum <equation = "{equation}"> (x, d)'
        proto = Layer(body, {"w": codes, "s": np.array(scale)}).model()
        sizes = [2, 3, IN] if rank == 3 else [2, 3, 4, 10]
        set_shape(proto, sizes, [2, 3, 4, 6] if rank == 3 else [2, 3, OUT])
        whole = adapter({"enc.q": W}, kind="einsum_dense")

        merge(proto, whole, tmp_path)

        x = inputs(6)
        got = added(tmp_path, x=x.reshape(sizes))
        assert_added(got.reshape(6, OUT), x @ delta(whole, "enc.q").T)


class TestReplacements:
    """A trained head whose layer is quantised in the base."""

    @pytest.mark.parametrize("name", FORMS)
    def test_a_trained_weight_comes_before_its_delta(self, name: str, tmp_path: Path) -> None:
        layer = FORMS[name]
        whole = without_prints({"enc.q": W}, replacements={"enc.q.weight": NEW})

        merge(layer.model(), whole, tmp_path)

        x = inputs(dtype=layer.dtype)
        difference = NEW + delta(whole, "enc.q") - _dequantised(layer, tmp_path)
        assert_added(added(tmp_path, x=x), x.astype(np.float64) @ difference.T, layer.dtype)

    @pytest.mark.parametrize("name", [name for name in FORMS if "b" in FORMS[name].arrays])
    def test_a_trained_bias_takes_the_place_of_the_old(self, name: str, tmp_path: Path) -> None:
        proto = FORMS[name].model()
        rename(proto, "b", "enc.q.bias")
        whole = adapter({"enc.q": W}, replacements={"enc.q.bias": NEW[:, 0]})

        merge(proto, whole, tmp_path)

        x = inputs()
        assert_added(added(tmp_path, x=x), x @ delta(whole, "enc.q").T + NEW[:, 0] - BIAS)

    @pytest.mark.parametrize("name", [name for name in FORMS if "b" not in FORMS[name].arrays])
    def test_a_trained_bias_that_the_graph_lacks_is_added(self, name: str, tmp_path: Path) -> None:
        layer = FORMS[name]
        whole = adapter({"enc.q": W}, replacements={"enc.q.bias": NEW[:, 0]})

        merge(layer.model(), whole, tmp_path)

        x = inputs(dtype=layer.dtype)
        expected = x.astype(np.float64) @ delta(whole, "enc.q").T + NEW[:, 0]
        assert_added(added(tmp_path, x=x), expected, layer.dtype)

    def test_a_trained_bias_of_a_static_gemm_takes_the_place_of_its_integers(
        self, tmp_path: Path
    ) -> None:
        """quantize_static keeps it as int32, with the product of both scales."""
        layer = dequantize_linear(operator="Gemm")
        scale = np.float32(0.03) * layer.arrays["w_scale"]
        body = " e = DequantizeLinear (b, b_s)" + layer.body.replace("(x, d)", "(x, d, e)")
        arrays = {"b": np.rint(BIAS / scale).astype(np.int32), "b_s": np.array(scale)}
        proto = Layer(body, layer.arrays | arrays).model()
        rename(proto, "b", "enc.q.bias_quantized")
        whole = adapter({"enc.q": W}, replacements={"enc.q.bias": NEW[:, 0]})

        merge(proto, whole, tmp_path)

        x = inputs()
        bias = NEW[:, 0] - arrays["b"].astype(np.float64) * scale
        assert_added(added(tmp_path, x=x), x @ delta(whole, "enc.q").T + bias)


def test_an_output_that_others_read_as_integers_is_rounded_with_its_branch(
    tmp_path: Path,
) -> None:
    layer = with_activations(dequantize_linear())
    proto = layer.model()
    proto.graph.node.append(
        onnx.helper.make_node("DequantizeLinear", ["c", "y_s", "x_z"], ["z"], "again")
    )
    proto.graph.output.add().CopyFrom(proto.graph.output[0])
    proto.graph.output[1].name = "z"
    whole = adapter({"enc.q": W})

    output = merge(proto, whole, tmp_path)

    x = inputs()
    error = added(tmp_path, x=x) - x @ delta(whole, "enc.q").T
    assert np.abs(error).max() <= 2 * layer.arrays["y_s"]  # rounded once before and once after
    y, z = run(output, x=x)
    assert np.array_equal(y, z)


def _dequantised(layer: Layer, folder: Path) -> Array:
    """Returns W, (out, in), as a MatMul without quantised activations has it."""
    path = folder / "plain.onnx"
    arrays = {k: np.zeros_like(v) if k == "b" else v for k, v in layer.arrays.items()}
    body = layer.body
    if "(i, " in body:
        body = " d" + body.split(" d", 1)[1].split(" c = ")[0].replace("(i, ", "(x, ")
        body = body.replace(" h = ", " y = ")
    path.write_bytes(Layer(body, arrays, layer.dtype).model().SerializeToString())
    return run_plainly(path, x=np.eye(IN, dtype=layer.dtype)).T.astype(np.float64)
