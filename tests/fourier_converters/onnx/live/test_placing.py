"""Where terms are added: what optimisers fuse with a product stays fused, and the bits the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from onnx import numpy_helper, parser
from scipy.special import ndtr

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import model, weight
from tests.fourier_converters.onnx.layers import values
from tests.fourier_converters.onnx.live.fusing import optimised
from tests.fourier_converters.onnx.live.served import (
    Served,
    adapter,
    batch,
    rows_of,
    serve,
    terms,
    worst,
)
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.quantised import IN, W, by_groups, nbits
from tests.tolerances import LIVE_F32


class TestPlaces:
    """What optimisers fuse with a product stays fused: the base's bits and speed."""

    GELU: Final = {
        "Gelu": "g = Gelu (s)",
        "erf": "d = Div (s, r2) e = Erf (d) f = Add (e, one) h = Mul (s, f) g = Mul (h, half)",
    }
    TAIL = "z = LayerNormalization <axis = -1> (g, scale, shift)"

    def arrays(self) -> dict[str, Array]:
        return {
            "w": weight(24, IN).T,
            "b": weight(1, 24, seed=7)[0],
            "r2": np.array(np.sqrt(2), np.float32),
            "one": np.array(1, np.float32),
            "half": np.array(0.5, np.float32),
            "scale": weight(1, 24, seed=8)[0],
            "shift": weight(1, 24, seed=9)[0],
        }

    def parsed(self, body: str) -> Any:
        text = f"g (float[N, T, {IN}] x, float[N, T, 24] s0) => (float[N, T, 24] y) {{ {body} }}"
        arrays = {name: array for name, array in self.arrays().items() if name in _words(body)}
        return model(text, arrays, {"q": "q"})

    def check(self, body: str, fused: str, served: Served, **given: Array) -> None:
        """Nothing fed, the fused operator is there and gives the same bits."""
        assert fused in optimised(served.base)
        assert fused in optimised(served.path), body
        assert np.array_equal(served.run(None, **given), served.unchanged(**given))

    @pytest.mark.parametrize("form", GELU)
    def test_an_activation_behind_the_bias(self, form: str, tmp_path: Path) -> None:
        body = f"[q] p = MatMul (x, w) s = Add (p, b) {self.GELU[form]} y = Add (g, s0)"
        whole = adapter({"q": W[:24]})
        served = serve(self.parsed(body), whole, tmp_path)
        rows, x = rows_of(whole), batch(5, 3, IN)
        s0 = np.zeros((5, 3, 24), np.float32)

        product = x @ W.T.astype(np.float64) + terms(rows, x, "q", 24) + self.arrays()["b"]
        assert worst(served.run(rows, x=x, s0=s0), product * _phi(product)) <= LIVE_F32
        self.check(body, "BiasGelu", served, x=x, s0=s0)

    @pytest.mark.parametrize("order", ["s, s0", "s0, s"])
    def test_a_residual_sum_behind_the_bias(self, order: str, tmp_path: Path) -> None:
        body = (
            f"[q] p = MatMul (x, w) s = Add (p, b) g = Add ({order}) "
            "y = LayerNormalization <axis = -1> (g, scale, shift)"
        )
        whole = adapter({"q": W})
        served = serve(self.parsed(body), whole, tmp_path)
        rows, x, s0 = rows_of(whole), batch(5, 3, IN), batch(5, 3, 24, seed=4)

        arrays = self.arrays()
        total = x @ W.T.astype(np.float64) + terms(rows, x, "q", 24) + arrays["b"] + s0
        centred = total - total.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        expected = normed * arrays["scale"] + arrays["shift"]
        assert worst(served.run(rows, x=x, s0=s0), expected) <= LIVE_F32
        self.check(body, "SkipLayerNormalization", served, x=x, s0=s0)


class TestResidualSums:
    """The If stands at the other summand: product, bias and sum stay one, in every form."""

    FORMS: Final = {
        "Gemm": ("p = Gemm <transB = 1> (x, wt, b) g = Add (p, r)", 2),
        "MatMul, Add": ("[q] p = MatMul (x, w) s = Add (p, b) g = Add (s, r)", 2),
        "quantize_dynamic": (
            (
                "a, xs, xz = DynamicQuantizeLinear (x) [q] i = MatMulInteger (a, c, xz, z)"
                " f = Cast <to = 1> (i) m = Mul (xs, cs) p = Mul (f, m)"
                " s = Add (p, b) g = Add (s, r)"
            ),
            3,
        ),
        "MatMulNBits": (
            (
                "[q] p = com.microsoft.MatMulNBits <K = 40, N = 24, bits = 4, block_size = 16>"
                ' (x, w_Q, w_scales, "") s = Add (p, b) g = Add (s, r)'
            ),
            3,
        ),
    }

    @pytest.mark.parametrize("form", FORMS)
    def test_nothing_fed_is_the_base_to_the_bit(self, form: str, tmp_path: Path) -> None:
        body, rank = self.FORMS[form]
        found = by_groups(W.T, "channel", 0, np.int8, symmetric=True)
        arrays = nbits(4, 16).arrays | {
            "w": W.T,
            "wt": W,
            "b": values(24),
            "c": found.codes.astype(np.int8),
            "cs": found.scale,
            "z": found.zero.astype(np.int8),
            "scale": values(24, seed=2),
            "shift": values(24, seed=3),
        }
        tokens = "T, " if rank == 3 else ""
        text = (
            '<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>'
            f" g (float[N, {tokens}{IN}] x, float[N, {tokens}24] r) => (float[N, {tokens}24] y)"
            f" {{ {body} y = LayerNormalization <axis = -1> (g, scale, shift) }}"
        )
        proto = parser.parse_model(text)
        for name, array in arrays.items():
            if name in _words(body) | {"scale", "shift"}:
                stored = np.ascontiguousarray(array).reshape(array.shape)
                proto.graph.initializer.append(numpy_helper.from_array(stored, name))
        for node in proto.graph.node:
            node.name = "/q/MatMul" if node.name == "q" else node.name
        whole = adapter({"q": W}, prints=form == "Gemm")
        served = serve(proto, whole, tmp_path)
        shape = (5, 3) if rank == 3 else (5,)
        given = {"x": batch(*shape, IN), "r": batch(*shape, 24, seed=4)}

        assert np.array_equal(served.run(None, **given), served.unchanged(**given))

        fused = {"Add", "If"}
        assert optimised(served.path) - fused >= optimised(served.base) - fused
        rows = rows_of(whole)
        assert worst(served.run(rows, **given), served.unchanged(**given)) > 0.1


def _words(body: str) -> set[str]:
    import re

    return set(re.findall(r"\w+", body))


def _phi(values: Array) -> Array:
    from scipy.special import ndtr

    result: Array = ndtr(values)
    return result


class TestBiasesThatOptimisersFuse:
    """A bias's If must not part what ONNX Runtime joins: nothing fed keeps the base's bits."""

    def check(
        self, body: str, fused: str, expected: Callable[[Array, Array], Array], path: Path
    ) -> None:
        given = f"float[batch, T, {IN}] x, float[batch, T, 24] r"
        text = f"g ({given}) => (float[batch, T, 24] y) {{ {body} }}"
        arrays = {
            "w": W.T,
            "b": values(24),
            "scale": values(24, seed=2),
            "shift": values(24, seed=3),
            "place": values(3, 24, seed=4),
        }
        arrays = {
            n: a
            for n, a in arrays.items()
            if n in body.replace(",", " ").split() or f"{n})" in body or f"({n}" in body
        }
        proto = model(text, arrays, {"q": "q"})
        rename(proto, "b", "q.bias")
        row = adapter({"q": W}, alpha=100.0, replacements={"q.bias": values(24, seed=5)})
        served = serve(proto, row, path)
        x, r = batch(3, 3, IN), batch(3, 3, 24, seed=8)

        assert fused in optimised(served.base)
        assert fused in optimised(served.path)
        assert np.array_equal(served.run(None, x=x, r=r), served.unchanged(x=x, r=r))
        total = x @ W.T.astype(np.float64) + arrays["b"]
        total[1] += x[1] @ delta(row, "q").T + row.replacements["q.bias"] - arrays["b"]
        assert worst(served.run([None, row, None], x=x, r=r), expected(total, r)) <= LIVE_F32

    def test_with_an_activation(self, tmp_path: Path) -> None:
        body = "[q] p = MatMul (x, w) s = Add (p, b) g = Gelu (s) y = Add (g, r)"

        def gelu(total: Array, r: Array) -> Array:
            result: Array = total * ndtr(total) + r
            return result

        self.check(body, "BiasGelu", gelu, tmp_path)

    @pytest.mark.parametrize("residual", ["r", "e"])
    def test_with_a_residual_sum(self, residual: str, tmp_path: Path) -> None:
        """The other summand may be broadcast: positions are the same in all rows."""
        place = values(3, 24, seed=4)
        more = "e = Identity (place) k = Sub (r, r)" if residual == "e" else ""
        body = (
            f"[q] p = MatMul (x, w) s = Add (p, b) {more} g = Add (s, {residual})"
            " y = LayerNormalization <axis = -1> (g, scale, shift)"
        )

        def normed(total: Array, r: Array) -> Array:
            total = total + (r if residual == "r" else place)
            centred = total - total.mean(-1, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            result: Array = scaled * values(24, seed=2) + values(24, seed=3)
            return result

        fused = "SkipLayerNormalization" if residual == "r" else "LayerNormalization"
        self.check(body, fused, normed, tmp_path)
