"""A base that is prepared once takes every adapter of a layout as if it were the first."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fourier_converters.onnx import branches
from fourier_converters.onnx.convert import find
from fourier_converters.onnx.preparing import Prepared, layout_of, prepare, same_places
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import UnsupportedError
from tests.fourier_converters.adapters import adapter, delta
from tests.fourier_converters.graphs import digests, model, save_external, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.hub import cached
from tests.fourier_converters.onnx.mixed import ARRAYS, V, proto
from tests.fourier_converters.onnx.mixed import W as MIXED_W
from tests.fourier_converters.onnx.quantised import IN, nbits, run_plainly
from tests.fourier_converters.onnx.test_loading import MODELS, ONE, W, X, one
from tests.fourier_converters.onnx.test_packed import FORMS, PARTS, SELF_ATTN, changed, split
from tests.tolerances import MERGED_AT_LOAD_F32


def variant(whole: Adapter, seed: int, *, entries: bool = False) -> Adapter:
    """Returns an adapter of the same layout with other coefficients, and entries if asked for."""
    rng = np.random.default_rng(seed)

    def changed(one_set: Any) -> Any:
        drawn = rng.choice(one_set.shape[0] * one_set.shape[1], one_set.count, replace=False)
        pairs = np.stack(np.divmod(drawn, one_set.shape[1]), axis=1).astype(one_set.entries.dtype)
        values = rng.standard_normal(one_set.coefficients.shape).astype(np.float32)
        own = pairs if entries else one_set.entries
        return dataclasses.replace(one_set, coefficients=values, entries=own)

    sets = tuple(changed(one_set) for one_set in whole.entry_sets)
    return dataclasses.replace(whole, entry_sets=sets)


def outputs(prepared: Prepared, whole: Adapter, **feeds: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    merged = prepared.merged(whole, options)
    session = onnxruntime.InferenceSession(merged.model, merged.options)
    found: list[Array] = session.run(None, feeds)
    return found


def assert_near(got: Array, expected: Array) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= MERGED_AT_LOAD_F32 * np.abs(expected).max()


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_each_adapter_is_added_to_the_base_and_not_to_the_one_before(
    name: str, external: bool, tmp_path: Path
) -> None:
    made = MODELS[name]()
    base = tmp_path / "base.onnx"
    save_external(made, base) if external else save_model(made, base)
    before = digests(tmp_path)
    prepared = prepare(ONE, base)

    for whole in (ONE, variant(ONE, 1), variant(ONE, 2, entries=True), ONE):
        y = outputs(prepared, whole, x=X)[0]

        assert_near(y, X.astype(np.float64) @ (W + delta(whole, "q")).T)
    assert digests(tmp_path) == before


def test_a_clone_and_a_weight_in_place_of_a_hub_cache(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = cached(save_external(proto(), tmp_path / "base" / "base.onnx"), tmp_path / "cache")
    first = adapter({"one": MIXED_W, "two": V})
    prepared = prepare(first, base)

    for whole in (variant(first, 1), variant(first, 2)):
        y, z, table = outputs(prepared, whole, x=X, ids=np.arange(7))

        assert_near(y, X.astype(np.float64) @ (MIXED_W + delta(whole, "one")).T)
        assert_near(z, X.astype(np.float64) @ (V + delta(whole, "two")).T)
        assert np.array_equal(table, ARRAYS["v"][:7])


@pytest.mark.parametrize("form", FORMS)
def test_several_targets_in_one_packed_weight(form: str, tmp_path: Path) -> None:
    base = save_model(split(FORMS[form]), tmp_path / "base.onnx")
    held = run_plainly(base, x=np.eye(IN, dtype=np.float32)).astype(np.float64)
    meant = {f"{SELF_ATTN}.{name}": PARTS[name][0] for name in ("q_proj", "v_proj")}
    first = adapter(meant, alpha=400.0)
    prepared = prepare(first, base)

    for own in (variant(first, 1), variant(first, 2, entries=True)):
        y = outputs(prepared, own, x=np.eye(IN, dtype=np.float32))[0]

        assert_near(y, held + changed(own).T)


@pytest.mark.parametrize("count", [2, 60])
def test_a_branch_with_factors_and_a_dense_one(count: int, tmp_path: Path) -> None:
    """Factors where two entries need less room than the matrix, which 60 do not."""
    made = nbits(4, 16, "packed").model()
    base = save_model(made, tmp_path / "base.onnx")
    first = adapter({"enc.q": weight(24, IN)}, alpha=400.0, count=count)
    (held,) = onnxruntime.InferenceSession(base).run(None, {"x": np.eye(IN, dtype=np.float32)})
    prepared = prepare(first, base)
    factored = bool(prepared._bases)

    assert factored == (count == 2)
    for own in (variant(first, 1), variant(first, 2, entries=True), variant(first, 3)):
        y = outputs(prepared, own, x=np.eye(IN, dtype=np.float32))[0]

        assert_near(y, held.astype(np.float64) + delta(own, "enc.q").T)


def test_factors_are_computed_once_for_adapters_that_share_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_model(nbits(4, 16, "packed").model(), tmp_path / "base.onnx")
    first = adapter({"enc.q": weight(24, IN)}, count=2)
    computed = []
    original = branches._factor

    def counted(id_: str, side: str, whole: Adapter) -> Array:
        computed.append(side)
        return original(id_, side, whole)

    monkeypatch.setattr(branches, "_factor", counted)
    prepared = prepare(first, base)

    prepared.merged(variant(first, 1))
    assert computed == []
    prepared.merged(variant(first, 2, entries=True))
    assert sorted(computed) == ["in", "out"]


def test_a_head_and_a_bias_that_the_graph_lacks(tmp_path: Path) -> None:
    head, bias = weight(3, 48, seed=8), weight(1, 48, seed=9)[0]
    text = (
        "g (float[N, 32] x) => (float[N, 3] z) { [n] y = MatMul (x, w) [h] z = MatMul (y, head) }"
    )
    made = model(text, {"w": W.T, "head": head.T}, {"n": "q", "h": "head"})
    base = save_model(made, tmp_path / "base.onnx")
    first = adapter({"q": W}, replacements={"head.weight": head, "q.bias": bias})
    prepared = prepare(first, base)

    for seed in (1, 2):
        new = {"head.weight": weight(3, 48, seed=20 + seed), "q.bias": bias * seed}
        own = dataclasses.replace(variant(first, seed), replacements=new)
        hidden = X.astype(np.float64) @ (W + delta(own, "q")).T + new["q.bias"]
        assert_near(outputs(prepared, own, x=X)[0], hidden @ new["head.weight"].T)


def test_a_head_is_trained_on_a_quantised_weight_too(tmp_path: Path) -> None:
    base = save_model(nbits(4, 16, "packed").model(), tmp_path / "base.onnx")
    other = weight(24, IN, seed=5)
    first = adapter({"enc.q": weight(24, IN)}, replacements={"enc.q.weight": other})
    prepared = prepare(first, base)

    for seed in (1, 2):
        head = weight(24, IN, seed=30 + seed)
        own = dataclasses.replace(variant(first, seed), replacements={"enc.q.weight": head})
        y = outputs(prepared, own, x=np.eye(IN, dtype=np.float32))[0]
        assert_near(y, head.T + delta(own, "enc.q").T)


@pytest.mark.parametrize("name", ["plain", "a Constant node"])
def test_threads_share_one_preparation(name: str, tmp_path: Path) -> None:
    prepared = prepare(ONE, save_model(MODELS[name](), tmp_path / "base.onnx"))
    adapters = [variant(ONE, seed) for seed in range(24)]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda own: outputs(prepared, own, x=X)[0], adapters))

    for own, y in zip(adapters, results, strict=True):
        assert_near(y, X.astype(np.float64) @ (W + delta(own, "q")).T)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    prepared = prepare(ONE, save_model(MODELS["plain"](), tmp_path / "base.onnx"))

    for other in (adapter({"q": W + 1}), adapter({"q": W}, count=6), adapter({"p": W})):
        assert layout_of(other) != prepared.layout
        with pytest.raises(ValueError, match="another layout"):
            prepared.merged(other)
    assert layout_of(variant(ONE, 1, entries=True)) == prepared.layout


@pytest.mark.parametrize("count", [None, 2, 60])
def test_an_adapter_that_is_not_finite_is_refused_and_the_next_is_not(
    count: int | None, tmp_path: Path
) -> None:
    made = MODELS["plain"]() if count is None else nbits(4, 16, "packed").model()
    whole = ONE if count is None else adapter({"enc.q": weight(24, IN)}, count=count)
    prepared = prepare(whole, save_model(made, tmp_path / "base.onnx"))
    broken = dataclasses.replace(variant(whole, 1), alpha=1e45)

    with pytest.raises(UnsupportedError, match="E-NUMBER-NONFINITE"):
        prepared.merged(broken)
    x = np.ones((3, whole.targets[0].shape[1]), np.float32)
    assert np.isfinite(outputs(prepared, variant(whole, 2), x=x)[0]).all()


def test_requantised_codes_are_one_adapter_s(tmp_path: Path) -> None:
    base = save_model(nbits(4, 16, "packed").model(), tmp_path / "base.onnx")
    first = adapter({"enc.q": weight(24, IN)}, alpha=400.0)
    prepared = prepare(first, base, quantized="requantize")

    prepared.merged(first)
    with pytest.raises(ValueError, match="requantised"):
        prepared.merged(variant(first, 1))


def test_a_bias_that_something_was_folded_into_is_another_place(tmp_path: Path) -> None:
    bias = weight(1, 48, seed=9)[0]
    whole = adapter({"q": W}, replacements={"q.bias": bias})
    body = "[n] y = Gemm <transB = 1> (x, w, b)"
    found = []
    for name, values in {"own": bias, "folded": bias + 1, "equal": bias}.items():
        made = one(body, {"w": W, "b": values})
        found.append(find(whole, save_model(made, tmp_path / f"{name}.onnx")))

    assert same_places(found[0], found[2])
    assert not same_places(found[0], found[1])
