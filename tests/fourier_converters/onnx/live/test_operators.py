"""Every operator that multiplies by a weight is served live, each row with its own adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from fourier_format.errors import UnsupportedError
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.onnx.branched import set_shape
from tests.fourier_converters.onnx.live.served import (
    Row,
    Served,
    adapter,
    batch,
    serve,
    terms,
    tuned,
    worst,
)
from tests.fourier_converters.onnx.quantised import (
    IN,
    OUT,
    PATH,
    Layer,
    W,
    cast_and_mul,
    dequantize_linear,
    integer,
    nbits,
    with_activations,
)
from tests.tolerances import LIVE_F32, LIVE_HALF_RATIO

NAME = "enc.q"
BIAS = weight(1, OUT, seed=7)[0]
A, B = adapter({NAME: W}, prints=False), tuned(adapter({NAME: W}, prints=False), 11)
ROWS: Final[tuple[Row, ...]] = (None, A, B, A, None)


def plain(body: str, **arrays: Any) -> Layer:
    return Layer(f" {body}", arrays)


FLAT: Final[dict[str, Layer]] = {
    "MatMul": plain("[q] y = MatMul (x, w)", w=W.T),
    "MatMul, Add": plain("[q] p = MatMul (x, w) y = Add (p, b)", w=W.T, b=BIAS),
    "MatMul, bias first": plain("[q] p = MatMul (x, w) y = Add (b, p)", w=W.T, b=BIAS),
    "MatMul of a transposed weight": plain(
        "t = Transpose <perm = [1, 0]> (w) [q] p = MatMul (x, t) y = Add (p, b)", w=W, b=BIAS
    ),
    "MatMul, Add, Relu": plain(
        "[q] p = MatMul (x, w) s = Add (p, b) r = Relu (s) d = Sub (r, r) y = Add (s, d)",
        w=W.T,
        b=BIAS,
    ),
    "MatMul that two nodes read": plain(
        "[q] p = MatMul (x, w) s = Add (p, b) d = Sub (p, p) y = Add (s, d)", w=W.T, b=BIAS
    ),
    "Gemm": plain("[q] y = Gemm <transB = 1> (x, w)", w=W),
    "Gemm, bias": plain("[q] y = Gemm <transB = 1> (x, w, b)", w=W, b=BIAS),
    "Gemm, not turned": plain("[q] y = Gemm (x, w, b)", w=W.T, b=BIAS),
    "Gemm, beta": plain("[q] y = Gemm <transB = 1, beta = 0.5> (x, w, b)", w=W, b=BIAS),
    "FusedMatMul": plain("[q] y = com.microsoft.FusedMatMul <transB = 1> (x, w)", w=W),
    "Einsum": plain('[q] y = Einsum <equation = "ni,io->no"> (x, w)', w=W.T),
    "Einsum, out first": plain('[q] y = Einsum <equation = "ni,oi->no"> (x, w)', w=W),
    "MatMulNBits, 4 bits": nbits(4, 16, "packed"),
    "MatMulNBits, 4 bits, bias": nbits(4, 32, bias=BIAS),
    "MatMulNBits, 8 bits": nbits(8, 16),
    "QDQ": dequantize_linear("channel"),
    "QDQ of blocks": dequantize_linear("block"),
    "QDQ, Gemm": dequantize_linear("channel", operator="Gemm"),
    "QDQ, activations": with_activations(dequantize_linear("channel")),
    "Cast and Mul": cast_and_mul(),
    "quantize_dynamic": integer("MatMulInteger", bias=BIAS),
    "MatMulIntegerToFloat": integer("MatMulIntegerToFloat", bias=BIAS),
    "DynamicQuantizeMatMul": integer("DynamicQuantizeMatMul", bias=BIAS),
}
CUBED: Final = {
    name: layer
    for name, layer in FLAT.items()
    if "Gemm" not in name and "Einsum" not in name and "two nodes" not in name
} | {
    "Einsum": plain('[q] y = Einsum <equation = "nti,io->nto"> (x, w)', w=W.T),
    "Reshape, Gemm, Reshape": plain(
        "f = Reshape (x, s) [q] g = Gemm <transB = 1> (f, w, b) k = Shape (x)"
        " l = Slice (k, z, e) m = Concat <axis = 0> (l, o) y = Reshape (g, m)",
        w=W,
        b=BIAS,
        s=np.array([-1, IN]),
        z=np.array([0]),
        e=np.array([2]),
        o=np.array([OUT]),
    ),
}


def flat(layer: Layer, opset: int = 21) -> Any:
    return layer.model(opset)


def cubed(layer: Layer, opset: int = 21) -> Any:
    return set_shape(layer.model(opset), ["N", "T", IN], ["N", "T", OUT])


Make = Callable[..., Any]
FORMS: Final[list[Any]] = [
    *(pytest.param(flat, layer, (5, IN), id=name) for name, layer in FLAT.items()),
    *(pytest.param(cubed, layer, (5, 3, IN), id=f"{name}, 3-D") for name, layer in CUBED.items()),
    *(
        pytest.param(cubed, CUBED[name], (5, 11, IN), id=f"{name}, many tokens")
        for name in ("MatMul, Add", "MatMulNBits, 4 bits", "quantize_dynamic")
    ),
]


def difference(served: Served, x: Any, rows: tuple[Row, ...] = ROWS) -> float:
    """Returns the error of base + x delta^T."""
    expected = served.unchanged(x=x).astype(np.float64) + terms(rows, x, NAME, OUT)
    return worst(served.run(rows, x=x), expected)


@pytest.mark.parametrize(("make", "layer", "shape"), FORMS)
class TestEveryForm:
    def test_each_row_gets_its_own_adapter(
        self, make: Make, layer: Layer, shape: tuple[int, ...], tmp_path: Path
    ) -> None:
        served = serve(make(layer), A, tmp_path)
        x = batch(*shape)

        assert difference(served, x) <= LIVE_F32

        changed = served.run(ROWS, x=x) - served.unchanged(x=x)
        assert np.abs(changed[1:4]).max() > 0.3 * np.abs(served.unchanged(x=x)).max()

    def test_one_adapter_is_for_all_rows(
        self, make: Make, layer: Layer, shape: tuple[int, ...], tmp_path: Path
    ) -> None:
        served = serve(make(layer), A, tmp_path)
        x = batch(*shape)

        expected = served.unchanged(x=x).astype(np.float64) + terms([B] * 5, x, NAME, OUT)
        assert worst(served.run([B], x=x), expected) <= LIVE_F32

    def test_nothing_fed_is_the_base_to_the_bit(
        self, make: Make, layer: Layer, shape: tuple[int, ...], tmp_path: Path
    ) -> None:
        served = serve(make(layer), A, tmp_path)
        x = batch(*shape)

        assert np.array_equal(served.run(None, x=x), served.unchanged(x=x))

    def test_the_static_form_computes_the_same(
        self, make: Make, layer: Layer, shape: tuple[int, ...], tmp_path: Path
    ) -> None:
        """Nothing fed, it adds zeros."""
        served = serve(make(layer), A, tmp_path, static=True)
        x = batch(*shape)

        assert difference(served, x) <= LIVE_F32
        assert worst(served.run(None, x=x), served.unchanged(x=x)) <= LIVE_F32


@pytest.mark.parametrize("opset", range(11, 22))
@pytest.mark.parametrize(
    ("form", "static"), [(f, s) for f in ("MatMul, Add", "Gemm, bias") for s in (False, True)]
)
def test_every_opset_that_onnx_runtime_reads(
    form: str, static: bool, opset: int, tmp_path: Path
) -> None:
    served = serve(flat(FLAT[form], opset), A, tmp_path, static=static)

    assert difference(served, batch(5, IN)) <= LIVE_F32


@pytest.mark.parametrize("tokens", [1, 8, 9, 20])
@pytest.mark.parametrize("transform", ["dft2", "dct2", "dht2"])
@pytest.mark.parametrize("shape", [(24, 40), (23, 37), (1, 5), (6, 1)], ids=str)
def test_every_transform_of_every_shape(
    shape: tuple[int, int], transform: str, tokens: int, tmp_path: Path
) -> None:
    """With few tokens a row and with many, which are computed in two orders."""
    out, in_ = shape
    canonical = weight(out, in_)
    whole = adapter({NAME: canonical}, transform=transform, alpha=10.0)
    layer = plain("[q] y = MatMul (x, w)", w=canonical.T)
    proto = set_shape(layer.model(in_=in_, out=f"N, {out}"), ["N", "T", in_], ["N", "T", out])
    served = serve(proto, whole, tmp_path)
    rows = (None, whole, tuned(whole, 11))
    x = batch(3, tokens, in_)

    expected = x.astype(np.float64) @ canonical.T + terms(rows, x, NAME, out)
    assert worst(served.run(rows, x=x), expected) <= LIVE_F32


class TestHalfPrecision:
    @pytest.mark.parametrize("form", ["MatMul, Add", "Gemm, bias", "MatMulNBits"])
    def test_float16_is_as_exact_as_its_base(self, form: str, tmp_path: Path) -> None:
        layers = {
            "MatMul, Add": FLAT["MatMul, Add"],
            "Gemm, bias": FLAT["Gemm, bias"],
            "MatMulNBits": nbits(4, 16, dtype=np.float16),
        }
        layer = layers[form]
        if form != "MatMulNBits":
            halved = {name: array.astype(np.float16) for name, array in layer.arrays.items()}
            layer = Layer(layer.body, halved, np.float16)
        served = serve(flat(layer), A, tmp_path)
        x = batch(5, IN, dtype=np.float16)
        base = served.unchanged(x=x)
        expected = base.astype(np.float64) + terms(ROWS, x, NAME, OUT)

        got = served.run(ROWS, x=x)

        assert got.dtype == np.float16
        assert worst(got, expected) <= LIVE_HALF_RATIO * 2**-11
        assert np.array_equal(served.run(None, x=x), base)

    @pytest.mark.parametrize("static", [False, True])
    @pytest.mark.parametrize("form", ["MatMul, Add", "Gemm, bias"])
    def test_bfloat16_too_in_onnxs_own_evaluator(
        self, form: str, static: bool, tmp_path: Path
    ) -> None:
        """ONNX Runtime has no MatMul of bfloat16 on the CPU."""
        layer = FLAT[form]
        given = {name: array.astype(ml_dtypes.bfloat16) for name, array in layer.arrays.items()}
        proto = parser.parse_model(
            f'<ir_version: 10, opset_import: ["": 21]> g (bfloat16[N, {IN}] x)'
            f" => (bfloat16[N, {OUT}] y) {{ {layer.body} }}"
        )
        proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in given.items())
        proto.graph.node[0].name = PATH
        served = serve(proto, A, tmp_path, static=static)
        x = batch(5, IN).astype(ml_dtypes.bfloat16)
        base, live = (ReferenceEvaluator(onnx.load(p)) for p in (served.base, served.path))
        (before,) = base.run(None, {"x": x})

        (got,) = live.run(None, {"x": x} | served.feeds(ROWS))

        expected = before.astype(np.float64) + terms(ROWS, x, NAME, OUT)
        assert got.dtype == ml_dtypes.bfloat16
        assert worst(got, expected) <= LIVE_HALF_RATIO * 2**-8
        nothing = served.feeds([None] if static else [])
        (same,) = live.run(None, {"x": x} | nothing)
        assert np.array_equal(same, before)


class TestRefused:
    def refuse(self, proto: Any, tmp_path: Path) -> list[str]:
        with pytest.raises(UnsupportedError) as caught:
            serve(proto, A, tmp_path)
        assert not (tmp_path / "live.onnx").exists()
        assert {v.code for v in caught.value.violations} == {"E-CONVERSION-UNSUPPORTED"}
        return [str(v) for v in caught.value.violations]

    def test_an_einsum_whose_features_are_not_last(self, tmp_path: Path) -> None:
        layer = plain('[q] y = Einsum <equation = "nti,io->not"> (x, w)', w=W.T)
        proto = set_shape(layer.model(), ["N", "T", IN], ["N", OUT, "T"])

        (line,) = self.refuse(proto, tmp_path)

        assert "its last axes" in line
        assert "nti,io->not" in line

    def test_a_product_that_is_scaled(self, tmp_path: Path) -> None:
        body = "[q] y = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, w)"

        (line,) = self.refuse(flat(plain(body, w=W)), tmp_path)

        assert "cannot be added to FusedMatMul '/enc/q/MatMul'" in line

    def test_a_product_inside_an_activation(self, tmp_path: Path) -> None:
        body = '[q] y = com.microsoft.FusedGemm <transB = 1, activation = "Relu"> (x, w, b)'

        (line,) = self.refuse(flat(plain(body, w=W, b=BIAS)), tmp_path)

        assert "FusedGemm" in line
