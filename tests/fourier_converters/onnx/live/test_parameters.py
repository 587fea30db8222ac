"""Heads and biases that were trained beside the coefficients: each row gets its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import TargetNotFoundError, UnsupportedError
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import model
from tests.fourier_converters.onnx.branched import set_shape
from tests.fourier_converters.onnx.layers import values
from tests.fourier_converters.onnx.live.served import (
    Served,
    adapter,
    batch,
    serve,
    tuned,
    worst,
)
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.quantised import IN, Layer, W, dequantize_linear, integer, nbits
from tests.tolerances import LIVE_F32

HIDDEN, LABELS = 24, 6
C, D = values(LABELS, HIDDEN), values(LABELS, seed=1)
HEADS: Final[dict[str, tuple[str, dict[str, Array]]]] = {
    "Gemm": (
        "[h] y = Gemm <transB = 1> (q, c, d)",
        {"c": C, "d": D},
    ),
    "Gemm, not turned": ("[h] y = Gemm (q, c, d)", {"c": C.T, "d": D}),
    "MatMul, Add": ("[h] p = MatMul (q, c) y = Add (p, d)", {"c": C.T, "d": D}),
}
NAMES: Final = ("head.weight", "head.bias")


def built(
    body: str, arrays: Mapping[str, Array], names: Mapping[str, str] | None = None, rank: int = 2
) -> Any:
    """Returns an adapted layer `q` with a head behind it, whose tensors have these names."""
    text = f"g (float[N, {IN}] x) => (float[N, M] y) {{ [q] q = MatMul (x, w) {body} }}"
    proto = model(text, {"w": W.T} | dict(arrays), {"q": "q", "h": "head"})
    for old, new in (names or {}).items():
        rename(proto, old, new)
    return set_shape(proto, ["batch", "T", IN]) if rank == 3 else proto


def whole(replacements: Mapping[str, Array], **fields: Any) -> Adapter:
    return adapter({"q": W}, alpha=100.0, replacements=dict(replacements), **fields)


def hidden(rows: Sequence[Adapter | None], x: Array) -> Array:
    """Returns what the adapted layer gives, float64."""
    return np.stack(
        [
            x[i].astype(np.float64) @ (W + (delta(row, "q") if row else 0)).T
            for i, row in enumerate(rows)
        ]
    )


def of_row(row: Adapter | None, name: str, base: Array) -> Array:
    found: Array = (row.replacements if row else {}).get(name, base)
    return found


def three_rows(make: Callable[[int], Mapping[str, Array]]) -> list[Adapter | None]:
    first = whole(make(5))
    return [None, first, tuned(first, 8, replacements=dict(make(6)))]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("form", HEADS)
class TestHeads:
    def test_each_row_has_its_own_head(
        self, form: str, rank: int, static: bool, tmp_path: Path
    ) -> None:
        body, arrays = HEADS[form]
        if rank == 3 and "Gemm" in form:
            body = body.replace("q, c", "f, c").replace("y =", "g =")
            body = f"f = Reshape (q, fl) {body} y = Reshape (g, un)"
            arrays = arrays | {"fl": np.array([-1, HIDDEN]), "un": np.array([-1, 3, LABELS])}
        rows = three_rows(
            lambda s: {
                "head.weight": values(LABELS, HIDDEN, seed=s),
                "head.bias": values(LABELS, seed=s),
            }
        )
        proto = built(body, arrays, dict(zip("cd", NAMES, strict=True)), rank)
        served = serve(proto, [row for row in rows if row], tmp_path, static=static)
        x = batch(3, IN) if rank == 2 else batch(3, 3, IN)

        got = served.run(rows, x=x)

        h = hidden(rows, x)
        expected = [
            h[i] @ of_row(row, "head.weight", C).T + of_row(row, "head.bias", D)
            for i, row in enumerate(rows)
        ]
        assert worst(got, np.stack(expected)) <= LIVE_F32
        assert {p.input for p in served.interface.parameters} == {
            f"fourier.{name}.difference" for name in NAMES
        }
        if not static:
            assert np.array_equal(served.run(None, x=x), served.unchanged(x=x))

    def test_a_blend_of_heads_is_the_blend_of_their_differences(
        self, form: str, rank: int, static: bool, tmp_path: Path
    ) -> None:
        body, arrays = HEADS[form]
        if rank == 3 and "Gemm" in form:
            return
        rows = three_rows(lambda s: {"head.weight": values(LABELS, HIDDEN, seed=s)})
        proto = built(body, arrays, dict(zip("cd", NAMES, strict=True)), rank)
        served = serve(proto, [row for row in rows if row], tmp_path, static=static)
        parts = [served.values(row) for row in rows[1:]]
        mix = {name: 0.25 * parts[0][name] + 0.5 * parts[1][name] for name in parts[0]}
        x = batch(2, IN) if rank == 2 else batch(2, 3, IN)

        got = served.run([mix, None], x=x)

        deltas, heads = (
            [0.25 * first, 0.5 * second]
            for first, second in (
                [delta(row, "q") for row in rows[1:] if row],
                [row.replacements["head.weight"] - C for row in rows[1:] if row],
            )
        )
        expected = [
            (x[0] @ (W + sum(deltas)).T) @ (C + sum(heads)).T + D,
            (x[1] @ W.astype(np.float64).T) @ C.T + D,
        ]
        assert worst(got, np.stack(expected)) <= LIVE_F32


class TestKerasNames:
    @pytest.mark.parametrize("labels", [LABELS, HIDDEN], ids=["oblong", "square"])
    @pytest.mark.parametrize("turned", [False, True])
    def test_a_dense_layers_kernel_and_bias(
        self, turned: bool, labels: int, tmp_path: Path
    ) -> None:
        """Keras stores (in, out); a Transpose may stand before the product."""
        kernel, bias = values(HIDDEN, labels), values(labels)
        body = "[h] p = MatMul (q, c) y = Add (p, d)"
        if turned:
            body = (
                "t = Transpose <perm = [1, 0]> (c) [h] p = Gemm <transB = 1> (q, t) y = Add (p, d)"
            )
        names = {"c": "logits/kernel", "d": "logits/bias"}
        proto = built(body, {"c": kernel, "d": bias}, names)
        rows = three_rows(
            lambda s: {
                "logits/kernel": values(HIDDEN, labels, seed=s),
                "logits/bias": values(labels, seed=s),
            }
        )
        served = serve(proto, [row for row in rows if row], tmp_path)
        x = batch(3, IN)

        h = hidden(rows, x)
        expected = [
            h[i] @ of_row(row, "logits/kernel", kernel) + of_row(row, "logits/bias", bias)
            for i, row in enumerate(rows)
        ]
        assert worst(served.run(rows, x=x), np.stack(expected)) <= LIVE_F32

    def test_a_kernel_with_an_axis_for_heads_is_refused(self, tmp_path: Path) -> None:
        body = "k = Reshape (c, s) [h] y = MatMul (q, k)"
        arrays = {"c": values(HIDDEN, 2, 4), "s": np.array([HIDDEN, 8])}
        proto = built(body, arrays, {"c": "attention/query/kernel"})

        with pytest.raises(UnsupportedError, match="no weight or bias of a linear layer"):
            serve(proto, whole({"attention/query/kernel": values(HIDDEN, 2, 4)}), tmp_path)


@pytest.mark.parametrize("form", ["MatMulNBits", "its own bias", "QDQ", "quantize_dynamic"])
def test_a_bias_of_a_quantised_layer(form: str, tmp_path: Path) -> None:
    old, new = values(HIDDEN), values(HIDDEN, seed=5)
    layers: dict[str, Layer] = {
        "MatMulNBits": nbits(4, 16).then("y = Add (h, b)", b=old),
        "its own bias": nbits(4, 16, bias=old),
        "QDQ": dequantize_linear("channel").then("y = Add (h, b)", b=old),
        "quantize_dynamic": integer("MatMulInteger", bias=old),
    }
    proto = layers[form].model()
    rename(proto, "b", "enc.q.bias")
    row = adapter({"enc.q": W}, prints=False, replacements={"enc.q.bias": new})
    served = serve(proto, row, tmp_path)
    x = batch(3, IN)

    expected = served.unchanged(x=x).astype(np.float64)
    expected[1] += x[1] @ delta(row, "enc.q").T + new.astype(np.float64) - old
    assert worst(served.run([None, row, None], x=x), expected) <= LIVE_F32
    assert np.array_equal(served.run(None, x=x), served.unchanged(x=x))


def test_a_head_that_is_quantised(tmp_path: Path) -> None:
    """The input holds the difference from what the codes stand for."""
    proto = nbits(4, 16).model()
    rename(proto, "w_Q", "enc.q.weight")
    row = adapter({"enc.q": W}, prints=False)
    new = values(HIDDEN, IN, seed=5)
    row = tuned(row, 3, replacements={"enc.q.weight": new})
    served = serve(proto, row, tmp_path)
    x = batch(3, IN)

    expected = served.unchanged(x=x).astype(np.float64)
    expected[1] = x[1] @ (new + delta(row, "enc.q")).T
    assert worst(served.run([None, row, None], x=x), expected) <= LIVE_F32


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_a_bias_that_the_exporter_dropped(operator: str, tmp_path: Path) -> None:
    """It was zero in the base."""
    body = {"MatMul": "[h] y = MatMul (q, c)", "Gemm": "[h] y = Gemm <transB = 1> (q, c)"}
    stored = C.T if operator == "MatMul" else C
    rows = three_rows(lambda s: {"head.bias": values(LABELS, seed=s)})
    proto = built(body[operator], {"c": stored})
    served = serve(proto, [row for row in rows if row], tmp_path)
    x = batch(3, IN)

    h = hidden(rows, x)
    zero = np.zeros(LABELS)
    expected = [h[i] @ C.T + of_row(row, "head.bias", zero) for i, row in enumerate(rows)]
    assert worst(served.run(rows, x=x), np.stack(expected)) <= LIVE_F32


def test_a_bias_of_one_layer_of_a_packed_product(tmp_path: Path) -> None:
    from tests.fourier_converters.onnx.test_packed import BIAS, FORMS, SELF_ATTN, Q, split

    proto = split(FORMS["float with an Add"])
    proto.graph.node[1].name = "/model/layers.0/attn/qkv_proj/Add"
    new = values(8, seed=5)
    row = adapter(
        {f"{SELF_ATTN}.q_proj": Q}, prints=False, replacements={f"{SELF_ATTN}.k_proj.bias": new}
    )
    served = serve(proto, row, tmp_path)
    x = batch(3, IN)

    expected = served.unchanged(x=x).astype(np.float64)
    expected[1, :24] += x[1] @ delta(row, f"{SELF_ATTN}.q_proj").T
    expected[1, 24:32] += new.astype(np.float64) - BIAS[24:32]
    assert worst(served.run([None, row, None], x=x), expected) <= LIVE_F32


class TestRefused:
    def refuse(self, wholes: Sequence[Adapter], proto: Any, folder: Path) -> str:
        with pytest.raises(UnsupportedError) as caught:
            serve(proto, wholes, folder)
        (violation,) = caught.value.violations
        assert violation.code == "E-CONVERSION-UNSUPPORTED"
        assert "activate" in (violation.advice or "")
        assert not (folder / "live.onnx").exists()
        return str(violation)

    def test_heads_of_different_shape(self, tmp_path: Path) -> None:
        """GPT-2's layers are stored (in, out), others of that name (out, in)."""
        proto = built("y = MatMul (q, c)", {"c": C.T}, {"c": "h.c_proj.weight"})
        first = whole({"h.c_proj.weight": values(LABELS, HIDDEN, seed=5)})
        turned = {"h.c_proj.weight": values(HIDDEN, LABELS, seed=5)}

        line = self.refuse([first, tuned(first, 2, replacements=turned)], proto, tmp_path)

        assert "adapters replace it in different shapes: (6, 24) and (24, 6)" in line

    def test_a_head_of_another_shape_than_the_bases(self, tmp_path: Path) -> None:
        proto = built("[h] y = MatMul (q, c)", {"c": C.T}, {"c": "head.weight"})
        wide = whole({"head.weight": values(LABELS + 1, HIDDEN, seed=5)})

        with pytest.raises(TargetNotFoundError, match="has another shape"):
            serve(proto, wide, tmp_path)

    def test_a_normalisation(self, tmp_path: Path) -> None:
        body = "y = LayerNormalization (q, c, d)"
        proto = built(
            body,
            {"c": values(HIDDEN), "d": values(HIDDEN)},
            {"c": "norm.weight", "d": "norm.bias"},
        )

        for name in ("norm.weight", "norm.bias"):
            line = self.refuse([whole({name: values(HIDDEN, seed=2)})], proto, tmp_path)
            assert name in line

    def test_an_embedding(self, tmp_path: Path) -> None:
        arrays = {"e": values(3, HIDDEN), "i": np.array([1, 1, 2])}
        proto = built("p = Gather (e, i) y = Add (q, p)", arrays, {"e": "embed.weight"})

        line = self.refuse([whole({"embed.weight": values(3, HIDDEN, seed=2)})], proto, tmp_path)

        assert "embed.weight: it is no weight or bias of a linear layer" in line

    def test_one_of_more_than_a_mebibyte(self, tmp_path: Path) -> None:
        large = values(2**14, HIDDEN)
        proto = built("[h] y = Gemm <transB = 1> (q, c)", {"c": large}, {"c": "head.weight"})

        line = self.refuse([whole({"head.weight": large + 1})], proto, tmp_path)

        assert "a replacement of 1572864 bytes is too large" in line

    @pytest.mark.parametrize("fused", ["BiasGelu", "SkipLayerNormalization"])
    def test_a_bias_inside_a_fused_operator(self, fused: str, tmp_path: Path) -> None:
        from onnx import parser

        body = {
            "BiasGelu": "y = com.microsoft.BiasGelu (q, b)",
            "SkipLayerNormalization": ("y = com.microsoft.SkipLayerNormalization (q, q, s, t, b)"),
        }[fused]
        text = (
            '<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>'
            f"g (float[N, {IN}] x) => (float[N, 24] y) {{ [q] q = MatMul (x, w) {body} }}"
        )
        proto = parser.parse_model(text)
        arrays = {"w": W.T, "b": values(24), "s": values(24), "t": values(24)}
        proto.graph.initializer.extend(model("g () => () { }", arrays).graph.initializer)
        proto.graph.node[0].name = "/q/MatMul"
        rename(proto, "b", "q.bias")

        line = self.refuse([whole({"q.bias": values(24, seed=4)})], proto, tmp_path)

        assert fused in line


def test_what_a_row_without_its_own_feeds_is_nothing(tmp_path: Path) -> None:
    """An adapter that lacks a head leaves the base's, whatever others of the batch have."""
    body = "[h] p = MatMul (q, c) y = Add (p, d)"
    proto = built(body, {"c": C.T, "d": D}, dict(zip("cd", NAMES, strict=True)))
    without = whole({})
    with_head = tuned(without, 4, replacements={"head.weight": values(LABELS, HIDDEN, seed=5)})
    served: Served = serve(proto, [without, with_head], tmp_path)
    rows = [without, with_head]
    x = batch(2, IN)

    h = hidden(rows, x)
    expected = [h[0] @ C.T + D, h[1] @ with_head.replacements["head.weight"].T + D]
    assert worst(served.run(rows, x=x), np.stack(expected)) <= LIVE_F32
