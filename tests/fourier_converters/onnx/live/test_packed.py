"""Packed weights, live: each layer's term goes to its own columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from onnx import numpy_helper, parser

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.onnx.live.served import (
    Row,
    adapter,
    batch,
    rows_of,
    serve,
    terms,
    worst,
)
from tests.fourier_converters.onnx.quantised import IN, Layer
from tests.fourier_converters.onnx.test_packed import (
    BIAS,
    FORMS,
    GENAI,
    PARTS,
    QKV,
    SELF_ATTN,
    split,
)
from tests.tolerances import LIVE_F32

NAMES: Final = {part: f"{SELF_ATTN}.{part}" for part in PARTS}


def of_parts(*parts: str) -> Adapter:
    return adapter({NAMES[part]: PARTS[part][0] for part in parts}, prints=False)


def packed_terms(rows: Sequence[Row], x: Array) -> Array:
    """Returns what rows add to the packed product, (..., 40) float64."""
    total = np.zeros((*x.shape[:-1], len(QKV)))
    for part, (_, columns) in PARTS.items():
        width = columns.stop - columns.start
        total[..., columns] = terms(rows, x, NAMES[part], width)
    return total


class TestPacked:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("static", [False, True])
    @pytest.mark.parametrize("meant", [["q_proj"], ["k_proj"], ["q_proj", "v_proj"], [*PARTS]])
    def test_each_layer_gets_its_own_columns(
        self, meant: list[str], static: bool, form: str, tmp_path: Path
    ) -> None:
        whole = of_parts(*meant)
        served = serve(split(FORMS[form]), whole, tmp_path, static=static)
        rows, x = rows_of(whole), batch(5, IN)

        got = served.run(rows, x=x)

        base = served.unchanged(x=x)
        assert worst(got, base + packed_terms(rows, x)) <= LIVE_F32
        if not static:
            assert np.array_equal(served.run(None, x=x), base)

    @pytest.mark.parametrize("opset", [11, 12, 13, 18, 21])
    def test_in_every_opset(self, opset: int, tmp_path: Path) -> None:
        sizes = "<axis = -1, split = [24, 8, 8]> (h)" if opset < 13 else "<axis = -1> (h, sizes)"
        cut = f"y0, y1, y2 = Split {sizes} y = Concat <axis = -1> (y0, y1, y2)"
        arrays = {} if opset < 13 else {"sizes": np.array([24, 8, 8])}
        proto = FORMS["float with an Add"].then(cut, **arrays).model(opset, out="N, 40")
        proto.graph.node[0].name = GENAI
        whole = of_parts("q_proj", "v_proj")
        served = serve(proto, whole, tmp_path)
        rows, x = rows_of(whole), batch(5, IN)

        expected = served.unchanged(x=x) + packed_terms(rows, x)
        assert worst(served.run(rows, x=x), expected) <= LIVE_F32

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("form", ["float", "MatMulNBits"])
    def test_grouped_query_attention(self, form: str, bias: bool, tmp_path: Path) -> None:
        """Every row is what the graph computes with that row's own packed weight."""
        whole = of_parts(*PARTS)
        served = serve(grouped(FORMS[form], bias), whole, tmp_path)
        rows, x = rows_of(whole)[:3], batch(3, 5, IN) / 4  # scores that softmax does not round
        past = np.zeros((3, 1, 0, 8), np.float32)
        given: dict[str, Array] = {"x": x, "past": past, "lengths": np.full(3, 4, np.int32)}

        got = served.run(rows, **given)

        base = served.unchanged(**given)
        (tmp_path / "alone").mkdir()
        for number, row in enumerate(rows):
            alone = serve(with_terms(grouped(FORMS[form], bias), row), whole, tmp_path / "alone")
            expected = alone.unchanged(**given)
            assert worst(got[number], expected[number].astype(np.float64)) <= LIVE_F32
        assert worst(got[1], base[1]) > 0.1
        assert np.array_equal(served.run(None, **given), base)


def grouped(layer: Layer, bias: bool) -> Any:
    """Returns a packed product that GroupQueryAttention reads, its cache an input."""
    more = "i = Add (h, b)" if bias else "i = Identity (h)"
    attention = "com.microsoft.GroupQueryAttention <num_heads = 3, kv_num_heads = 1>"
    body = (
        layer.then("").body
        + f' {more} y, p, r = {attention} (i, "", "", past, past, lengths, total)'
    )
    arrays = layer.arrays | {"total": np.array(5, np.int32)}
    arrays |= {"b": BIAS} if bias else {}
    text = (
        '<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>'
        f" g (float[N, 5, {IN}] x, float[N, 1, P, 8] past, int32[N] lengths)"
        f" => (float[N, 5, 24] y) {{ {body} }}"
    )
    proto = parser.parse_model(text)
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    for node in proto.graph.node:
        node.name = GENAI if node.name == "q" else node.name
    return proto


def with_terms(proto: Any, row: Row) -> Any:
    """Add x delta^T of one adapter to the packed product by hand."""
    from onnx import helper

    if not isinstance(row, Adapter):
        return proto
    total = np.zeros(QKV.shape)
    for part, (_, columns) in PARTS.items():
        total[columns] = delta(row, NAMES[part])
    proto.graph.initializer.append(numpy_helper.from_array(total.T.astype(np.float32), "change"))
    at = next(i for i, node in enumerate(proto.graph.node) if node.output[0] == "h")
    proto.graph.node[at].output[0] = "bare"
    proto.graph.node.insert(at + 1, helper.make_node("MatMul", ["x", "change"], ["term"]))
    proto.graph.node.insert(at + 2, helper.make_node("Add", ["bare", "term"], ["h"]))
    return proto
