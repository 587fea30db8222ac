"""Layers in the bodies of If and Loop, live."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from onnx import numpy_helper, parser

from tests.fourier_converters.graphs import weight
from tests.fourier_converters.onnx.live.served import (
    adapter,
    batch,
    rows_of,
    serve,
    terms,
    worst,
)
from tests.fourier_converters.onnx.quantised import IN, Layer, W, dequantize_linear, nbits
from tests.tolerances import LIVE_F32


class TestBodies:
    CASES: Final = {
        "If": """
            y = If (flag) <
                then_branch = one () => (float[N, 24] o) { BODY },
                else_branch = two () => (float[N, 24] e) { e = MatMul (x, other) }
            >
        """,
        "If in an If": """
            y = If (flag) <
                then_branch = outer () => (float[N, 24] p) {
                    p = If (flag) <
                        then_branch = one () => (float[N, 24] o) { BODY },
                        else_branch = two () => (float[N, 24] e) { e = MatMul (x, other) }
                    >
                },
                else_branch = three () => (float[N, 24] f) { f = MatMul (x, other) }
            >
        """,
        "Loop": """
            trips = Constant <value = int64 {1}> ()
            start = MatMul (x, other)
            y = Loop (trips, flag, start) <
                body = one (int64 i, bool c, float[N, 24] carried) => (bool go, float[N, 24] o)
                { go = Identity (c) BODY }
            >
        """,
    }
    LAYERS: Final = {
        "MatMul": Layer(" [q] y = MatMul (x, w)", {"w": W.T}),
        "MatMulNBits": nbits(4, 16, "packed"),
        "QDQ": dequantize_linear("channel"),
    }

    def proto(self, case: str, form: str) -> Any:
        layer = self.LAYERS[form]
        body = self.CASES[case].replace("BODY", layer.body.replace(" y = ", " o = "))
        text = (
            '<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]>'
            f"g (bool flag, float[N, {IN}] x) => (float[N, 24] y) {{ {body} }}"
        )
        proto = parser.parse_model(text)
        arrays = layer.arrays | {"other": weight(24, IN, seed=1).T}
        proto.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n)
            for n, a in arrays.items()
        )
        _rename(proto.graph)
        return proto

    @pytest.mark.parametrize("form", LAYERS)
    @pytest.mark.parametrize("static", [False, True])
    @pytest.mark.parametrize("case", CASES)
    def test_a_layer_in_a_body(self, case: str, static: bool, form: str, tmp_path: Path) -> None:
        whole = adapter({"enc.q": W}, prints=False)
        plainly = form == "QDQ"  # ONNX Runtime fuses it and misses the weight outside the body
        served = serve(self.proto(case, form), whole, tmp_path, static=static, plainly=plainly)
        rows, x = rows_of(whole), batch(5, IN)

        for flag in (True, False):
            base = served.unchanged(flag=np.array(flag), x=x)
            expected = base + terms(rows, x, "enc.q", 24) * flag
            assert worst(served.run(rows, flag=np.array(flag), x=x), expected) <= LIVE_F32
            if not static:
                assert np.array_equal(served.run(None, flag=np.array(flag), x=x), base)


def _rename(graph: Any) -> None:
    for node in graph.node:
        node.name = "/enc/q/MatMul" if node.name == "q" else node.name
        for entry in node.attribute:
            if entry.HasField("g"):
                _rename(entry.g)
