"""Fused Attention, live: opened where an input of its own is fed, left as it is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.onnx.layers import values
from tests.fourier_converters.onnx.live.served import (
    adapter,
    batch,
    elsewhere,
    serve,
    tuned,
    worst,
)
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.quantised import IN
from tests.tolerances import LIVE_ATTENTION_F32, LIVE_HALF_RATIO

AROUND: Final = "bert.encoder.layer.0.attention.self"
OUTPUT: Final = "/bert/encoder/layer.0/attention/self/Reshape_3_output_0"
HEADS, SIZE, TOKENS = 2, 8, 3
PARTS: Final = ("query", "key", "value")
WEIGHTS: Final = {part: weight(HEADS * SIZE, IN, seed=i) / 4 for i, part in enumerate(PARTS)}
BIAS: Final = values(3 * HEADS * SIZE)
ROWS_OF: Final = {part: slice(i * 16, i * 16 + 16) for i, part in enumerate(PARTS)}
MASK: Final = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], np.int32)


def proto(dtype: Any = np.float32) -> Any:
    """Returns an Attention with a mask, and a Relu behind it."""
    kind = {"float32": "float", "float16": "float16"}[np.dtype(dtype).name]
    text = (
        '<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>'
        f"g ({kind}[N, T, {IN}] x, int32[N, T] m) => ({kind}[N, T, 16] y) {{"
        f"  h = com.microsoft.Attention <num_heads = {HEADS}> (x, w, b, m) y = Relu (h) }}"
    )
    made = parser.parse_model(text)
    packed = np.concatenate([*WEIGHTS.values()])
    for name, array in (("w", packed.T), ("b", BIAS)):
        stored = np.ascontiguousarray(array.astype(dtype))
        made.graph.initializer.append(numpy_helper.from_array(stored, name))
    made.graph.node[0].output[0] = made.graph.node[1].input[0] = OUTPUT
    made.graph.node[0].name = "Attention_0"
    rename(made, "w", "Attention_0_qkv_weight")
    rename(made, "b", "Attention_0_qkv_bias")
    return made


def of_parts(*parts: str, **fields: Any) -> Adapter:
    given = {f"{AROUND}.{part}": WEIGHTS[part] for part in parts}
    return adapter(given, prints=False, alpha=40.0, **fields)


def attended(row: Adapter | None, x: Array, mask: Array) -> Array:
    """Returns what one row (T, IN) gives in float64, by the operator's documentation."""
    x = x.astype(np.float64)
    parts = []
    for part, columns in ROWS_OF.items():
        name = f"{AROUND}.{part}"
        w = WEIGHTS[part].astype(np.float64)
        b = BIAS[columns].astype(np.float64)
        if row is not None and name in {t.name for t in row.targets}:
            w = w + delta(row, name)
        if row is not None:
            b = row.replacements.get(f"{name}.bias", b).astype(np.float64)
        parts.append((x @ w.T + b).reshape(-1, HEADS, SIZE).transpose(1, 0, 2))
    query, key, value = parts
    scores = query @ key.swapaxes(1, 2) / np.sqrt(SIZE)
    scores = scores + np.where(mask.astype(bool), 0.0, -10000.0)[None, None]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    result: Array = (weights @ value).transpose(1, 0, 2).reshape(len(x), -1)
    return np.maximum(result, 0)


def expected(rows: Any, x: Array) -> Array:
    return np.stack([attended(row, x[i], MASK[i]) for i, row in enumerate(rows)])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("meant", [["query"], ["query", "value"], ["key"], [*PARTS]])
def test_each_row_attends_with_its_own_adapter(
    meant: list[str], static: bool, tmp_path: Path
) -> None:
    whole = of_parts(*meant)
    served = serve(proto(), whole, tmp_path, static=static)
    rows, x = (None, whole, tuned(whole, 3), None), batch(4, TOKENS, IN)

    got = served.run(rows, x=x, m=MASK)

    assert worst(got, expected(rows, x)) <= LIVE_ATTENTION_F32
    assert worst(got, expected([None] * 4, x)) > 0.05
    if not static:
        assert np.array_equal(served.run(None, x=x, m=MASK), served.unchanged(x=x, m=MASK))


@pytest.mark.parametrize("static", [False, True])
def test_two_banks_on_one_attention(static: bool, tmp_path: Path) -> None:
    """One bank fed, the other not; both fed; neither."""
    first = of_parts("query", "value")
    other = elsewhere(of_parts("key", "value"))
    served = serve(proto(), [first, other], tmp_path, static=static)
    x = batch(4, TOKENS, IN)
    names = [bank.input for bank in served.interface.banks]
    assert len(names) == 2

    for rows in ([first, None, other, None], [first] * 4, [other, other, None, None]):
        whole = served.feeds(rows)
        given = {n: v for n, v in whole.items() if static or v.any()}
        got = served.fed(given, x=x, m=MASK)
        assert worst(got, expected(rows, x)) <= LIVE_ATTENTION_F32

    if not static:
        assert np.array_equal(served.run(None, x=x, m=MASK), served.unchanged(x=x, m=MASK))


@pytest.mark.parametrize("static", [False, True])
def test_biases_of_one_layer(static: bool, tmp_path: Path) -> None:
    """They are parameters of their own: a row may feed one, coefficients, or both."""
    plain = of_parts("query")
    both = of_parts("query", replacements={f"{AROUND}.key.bias": values(16, seed=5)})
    served = serve(proto(), [plain, both], tmp_path, static=static)
    rows, x = (None, both, plain, both), batch(4, TOKENS, IN)

    assert worst(served.run(rows, x=x, m=MASK), expected(rows, x)) <= LIVE_ATTENTION_F32
    if not static:
        one = {n: v for n, v in served.feeds([both]).items() if "difference" in n}
        bare = of_parts("query", replacements=dict(both.replacements))
        zeroed = tuned(bare, 0, alpha=0.0)
        got = served.fed(one, x=x, m=MASK)
        assert worst(got, expected([zeroed] * 4, x)) <= LIVE_ATTENTION_F32
        assert np.array_equal(served.run(None, x=x, m=MASK), served.unchanged(x=x, m=MASK))


@pytest.mark.parametrize("banks", [1, 2])
def test_in_float16_as_exact_as_the_rounding_of_its_inputs(banks: int, tmp_path: Path) -> None:
    first = of_parts("query", "value")
    wholes = [first, elsewhere(first)][:banks]
    served = serve(proto(np.float16), wholes, tmp_path)
    rows, x = (None, first, wholes[-1], None), batch(4, TOKENS, IN, dtype=np.float16)

    got = served.run(rows, x=x, m=MASK)

    base = worst(served.unchanged(x=x, m=MASK), expected([None] * 4, x))
    assert worst(got, expected(rows, x)) <= LIVE_HALF_RATIO * max(base, 2**-10)
    assert np.array_equal(served.run(None, x=x, m=MASK), served.unchanged(x=x, m=MASK))


def test_it_is_opened_in_a_branch_alone(tmp_path: Path) -> None:
    """Nothing fed, the fused node runs; the opened one is where an input says so."""
    served = serve(proto(), of_parts("query", "value"), tmp_path)

    graph = onnx.load(served.path).graph

    assert "Attention" not in {node.op_type for node in graph.node}
    opening = next(n for n in graph.node if n.op_type == "If" and OUTPUT in n.output)
    kinds: Mapping[str, list[str]] = {
        entry.name: [node.op_type for node in entry.g.node] for entry in opening.attribute
    }
    assert kinds["else_branch"] == ["Attention"]
    assert "MultiHeadAttention" in kinds["then_branch"]
    assert "Attention" not in kinds["then_branch"]


def test_one_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    made = proto()
    rotary = made.graph.node[0].attribute.add()
    rotary.name, rotary.i, rotary.type = "do_rotary", 1, 2

    with pytest.raises(UnsupportedError, match="Attention_0") as caught:
        serve(made, of_parts("query"), tmp_path)

    (violation,) = caught.value.violations
    assert violation.code == "E-CONVERSION-UNSUPPORTED"
    assert "do_rotary" in str(violation)
    assert not (tmp_path / "live.onnx").exists()
