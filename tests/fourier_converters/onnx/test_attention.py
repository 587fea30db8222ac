"""ONNX Runtime's fused Attention: three layers in one node, which has no path itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import Captured, refused
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.graphs import tensor, weight
from tests.fourier_converters.onnx.branched import (
    adapter,
    inputs,
    merge,
    set_shape,
    without_prints,
)
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.quantised import IN, Layer, run_plainly

OUTPUT = "/bert/encoder/layer.0/attention/self/Reshape_3_output_0"
AROUND = "bert.encoder.layer.0.attention.self"


def attention(sizes: tuple[int, int, int] | None, bias: bool = True) -> Any:
    q, k, v = weights(sizes)
    arrays = {"w": np.concatenate([q, k, v]).T}
    if bias:
        arrays["b"] = weight(1, len(q) + len(k) + len(v), seed=9)[0]
    more = "" if sizes is None else f", qkv_hidden_sizes = [{', '.join(map(str, sizes))}]"
    given = "x, w, b" if bias else "x, w"
    body = f" [a] h = com.microsoft.Attention <num_heads = 2{more}> ({given}) y = Relu (h)"
    proto = Layer(body, arrays).model(out=f"2, 3, {len(v)}")
    set_shape(proto, [2, 3, IN])
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = OUTPUT
    proto.graph.node[0].name = "Attention_0"
    rename(proto, "w", "Attention_0_qkv_weight")
    rename(proto, "b", "Attention_0_qkv_bias")
    return proto


def weights(sizes: tuple[int, int, int] | None) -> list[Array]:
    return [weight(n, IN, seed=i) for i, n in enumerate(sizes or (16, 16, 16))]


@pytest.mark.parametrize("make", [adapter, without_prints])
@pytest.mark.parametrize("sizes", [None, (16, 16, 8)])
def test_its_parts_are_found(sizes: tuple[int, int, int] | None, make: Any, tmp_path: Path) -> None:
    q, k, v = weights(sizes)
    whole = make({f"{AROUND}.query": q, f"{AROUND}.value": v})

    output = merge(attention(sizes), whole, tmp_path)

    got = tensor(output, "Attention_0_qkv_weight").T
    rows = len(q) + len(k)
    assert np.allclose(got[: len(q)], q + delta(whole, f"{AROUND}.query"), atol=1e-5)
    assert np.array_equal(got[len(q) : rows], k)
    assert np.allclose(got[rows:], v + delta(whole, f"{AROUND}.value"), atol=1e-5)
    assert np.isfinite(run_plainly(output, x=inputs(6).reshape(2, 3, IN))).all()


def test_a_trained_bias_takes_its_own_elements(tmp_path: Path) -> None:
    (q, *_), new = weights(None), weight(1, 16, seed=11)[0]
    whole = adapter({f"{AROUND}.query": q}, replacements={f"{AROUND}.key.bias": new})
    proto = attention(None)

    output = merge(proto, whole, tmp_path)

    old = weight(1, 48, seed=9)[0]
    got = tensor(output, "Attention_0_qkv_bias")
    assert np.array_equal(got, np.concatenate([old[:16], new, old[32:]]))


def test_a_bias_that_it_lacks_is_not_added_to_its_output(tmp_path: Path, capsys: Captured) -> None:
    (q, *_), new = weights(None), weight(1, 16, seed=11)[0]
    whole = adapter({f"{AROUND}.query": q}, replacements={f"{AROUND}.key.bias": new})
    base = save_model(attention(None, bias=False), tmp_path / "base.onnx")

    (line,) = refused(capsys, save(whole, tmp_path), "--to", "onnx", "--base", base)

    assert line.startswith(f"{AROUND}.key.bias: ")
