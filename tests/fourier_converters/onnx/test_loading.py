"""Merging at load: the session is the merged file's, and no file is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from fourier_converters.onnx import to_onnx
from fourier_converters.onnx.loading import merge_at_load
from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import adapter, delta
from tests.fourier_converters.graphs import digests, model, run, save_external, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.hub import cached
from tests.fourier_converters.onnx.mixed import ARRAYS, WHOLE, proto

W = weight(48, 32)
ONE = adapter({"q": W})
X = np.random.default_rng(5).standard_normal((7, 32)).astype(np.float32)
HEAD = "g (float[N, 32] x) => (float[N, 48] y)"


def session_of(whole: Adapter, base: Path, **options: Any) -> Any:
    merged = merge_at_load(whole, base, **options)
    return onnxruntime.InferenceSession(merged.model, merged.options)


def one(body: str, arrays: dict[str, Array] | None = None) -> Any:
    return model(f"{HEAD} {{ {body} }}", {"w": W.T} if arrays is None else arrays, {"n": "q"})


def _constant() -> Any:
    made = one("k = Constant <value = float {0}> () [n] y = MatMul (x, k)", {})
    made.graph.node[0].attribute[0].t.CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(W.T), "")
    )
    return made


def _in_a_branch(inside: bool) -> Any:
    name = "v" if inside else "w"
    made = one(
        "c = Constant <value = bool {1}> ()"
        f" y = If (c) <then_branch = t () => (float[N, 48] a) {{ [n] a = MatMul (x, {name}) }},"
        f" else_branch = e () => (float[N, 48] b) {{ [m] b = MatMul (x, {name}) }}>",
        {} if inside else None,
    )
    for entry in made.graph.node[1].attribute:
        if inside:
            inner = numpy_helper.from_array(np.ascontiguousarray(W.T), "v")
            entry.g.initializer.append(inner)
        for node in entry.g.node:
            node.metadata_props.extend(model(LINE, {}, {"n": "q"}).graph.node[0].metadata_props)
    return made


LINE = f"{HEAD} {{ [n] y = MatMul (x, w) }}"

MODELS: dict[str, Callable[[], Any]] = {
    "plain": lambda: one("[n] y = MatMul (x, w)"),
    "transposed": lambda: one("t = Transpose <perm = [1, 0]> (w) [n] y = MatMul (x, t)", {"w": W}),
    "identity": lambda: one("t = Identity (w) [n] y = MatMul (x, t)"),
    "reshaped": lambda: one(
        "s = Constant <value = int64[2] {32, 48}> () t = Reshape (w, s) [n] y = MatMul (x, t)",
        {"w": W.T.reshape(-1)},
    ),
    "shared with an output": lambda: model(
        "g (float[N, 32] x) => (float[N, 48] y, float[32, 48] o)"
        " { [n] y = MatMul (x, w) o = Identity (w) }",
        {"w": W.T},
        {"n": "q"},
    ),
    "a Constant node": _constant,
    "an outer weight in a branch": lambda: _in_a_branch(inside=False),
    "an inner weight in a branch": lambda: _in_a_branch(inside=True),
}


def compare(whole: Adapter, base: Path, folder: Path, **feeds: Array) -> list[Array]:
    """Returns the session's outputs, which are those of the merged file to the bit."""
    (folder / "merged").mkdir()
    to_onnx(whole, base, folder / "merged" / "m.onnx")
    expected = run(folder / "merged" / "m.onnx", **feeds)
    before = digests(folder)

    got = session_of(whole, base).run(None, feeds)

    assert digests(folder) == before
    for ours, theirs in zip(got, expected, strict=True):
        assert np.allclose(ours, theirs, rtol=0, atol=1e-6 * max(1.0, np.abs(theirs).max()))
    outputs: list[Array] = got
    return outputs


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_session_is_the_merged_file_s(name: str, external: bool, tmp_path: Path) -> None:
    made = MODELS[name]()
    base = tmp_path / "base.onnx"
    save_external(made, base) if external else save_model(made, base)

    y = compare(ONE, base, tmp_path, x=X)[0]

    assert np.allclose(y, X @ (W + delta(ONE, "q")).T, atol=1e-4)


@pytest.mark.parametrize("external", [False, True])
def test_a_tensor_that_others_read_is_cloned(external: bool, tmp_path: Path) -> None:
    base = tmp_path / "base.onnx"
    save_external(proto(), base) if external else save_model(proto(), base)

    _, _, table = compare(WHOLE, base, tmp_path, x=X, ids=np.arange(7))

    assert np.array_equal(table, ARRAYS["v"][:7])


def test_add_initializer_would_be_wrong_without_a_word(tmp_path: Path) -> None:
    """Why the other function is used: the Transpose is folded before the value is replaced."""
    base = save_model(MODELS["transposed"](), tmp_path / "base.onnx")
    new = np.ascontiguousarray((W + delta(ONE, "q")).astype(np.float32))
    value = onnxruntime.OrtValue.ortvalue_from_numpy(new)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_initializer("w", value)

    wrong = onnxruntime.InferenceSession(base, options).run(None, {"x": X})[0]
    right = session_of(ONE, base).run(None, {"x": X})[0]

    assert np.allclose(wrong, X @ W.T, atol=1e-4)
    assert np.allclose(right, X @ new.T, atol=1e-4)
    assert not np.allclose(wrong, right, atol=1e-2)


@pytest.mark.parametrize("external", [False, True])
def test_float16_weights(external: bool, tmp_path: Path) -> None:
    text = "g (float16[N, 32] x) => (float16[N, 48] y) { [n] y = MatMul (x, w) }"
    made = model(text, {"w": W.T.astype(np.float16)}, {"n": "q"})
    base = tmp_path / "base.onnx"
    save_external(made, base) if external else save_model(made, base)
    whole = adapter({"q": W.astype(np.float16)})

    y = compare(whole, base, tmp_path, x=np.eye(32, dtype=np.float16))[0]

    expected = (W.astype(np.float16) + delta(whole, "q")).astype(np.float16)
    assert np.array_equal(y.T, expected)


def test_bfloat16_weights(tmp_path: Path) -> None:
    """ONNX Runtime's MatMul has no bfloat16 on the CPU, and its Cast has."""
    half = W.astype(ml_dtypes.bfloat16)
    made = one("t = Cast <to = 1> (w) [n] y = MatMul (x, t)", {"w": half.T})
    base = save_model(made, tmp_path / "base.onnx")
    whole = adapter({"q": half})

    y = compare(whole, base, tmp_path, x=np.eye(32, dtype=np.float32))[0]

    expected = (half.astype(np.float64) + delta(whole, "q")).astype(ml_dtypes.bfloat16)
    assert np.array_equal(y.T, expected.astype(np.float32))


def test_quantised_weights_get_a_branch(tmp_path: Path) -> None:
    scale = (np.abs(W).max() / 127).astype(np.float32)
    codes = np.round(W.T / scale).astype(np.int8)
    made = one(
        "d = DequantizeLinear (codes, scale) [n] y = MatMul (x, d)",
        {"codes": codes, "scale": scale},
    )
    base = save_model(made, tmp_path / "base.onnx")
    held = (codes * scale).T
    whole = adapter({"q": held})

    y = compare(whole, base, tmp_path, x=X)[0]

    assert np.allclose(y, X @ (held + delta(whole, "q")).T, atol=1e-4)


def test_a_hub_cache_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = save_external(proto(), tmp_path / "base" / "base.onnx")

    compare(WHOLE, cached(base, tmp_path / "cache"), tmp_path, x=X, ids=np.arange(7))


def test_the_base_is_unchanged_and_options_are_added_to(tmp_path: Path) -> None:
    base = save_model(MODELS["plain"](), tmp_path / "base.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    merged = merge_at_load(ONE, base, options)

    assert merged.options is options
    assert [row.target for row in merged.report.rows] == ["q"]
    assert np.array_equal(tensor(base, "w"), W.T)
