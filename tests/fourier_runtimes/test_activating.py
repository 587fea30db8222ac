"""Merged sessions: one adapter at full speed, from a base that was optimised once."""

from __future__ import annotations

import dataclasses
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fourier_converters.onnx.model import Model
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import (
    BaseMismatchError,
    TargetNotFoundError,
    UnknownAdapterError,
    UsageError,
)
from fourier_runtimes import activating
from fourier_runtimes.activating import MergedSessions, default_cache
from fourier_runtimes.optimised import DATA, MODEL, key_of, optimised
from tests.fourier_converters.adapters import adapter, delta
from tests.fourier_converters.graphs import digests, model, save_external, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import convolved
from tests.fourier_converters.onnx.quantised import IN, nbits, run_plainly, with_activations
from tests.fourier_converters.onnx.quantised import dequantize_linear as qdq
from tests.fourier_converters.onnx.test_packed import FORMS, PARTS, SELF_ATTN, changed, split
from tests.fourier_converters.onnx.test_preparing import assert_near, variant

Q, HEAD, HEAD_BIAS = weight(48, 32), weight(3, 48, seed=8), weight(1, 3, seed=9)[0]
TEXT = """
    g (float[N, 32] x) => (float[N, 3] z) {
        [n] m = MatMul (x, w)
        [a] a = Add (m, b)
        r = Relu (a)
        [h] h = MatMul (r, head)
        [z] z = Add (h, head_bias)
    }
"""
SCOPES = {"n": "q", "a": "q", "h": "head", "z": "head"}
BIAS = weight(1, 48, seed=3)[0]
X = np.random.default_rng(5).standard_normal((7, 32)).astype(np.float32)
FIRST = adapter({"q": Q})


def base_model() -> Any:
    arrays = {"w": Q.T, "b": BIAS, "head": HEAD.T, "head_bias": HEAD_BIAS}
    return model(TEXT, arrays, SCOPES)


def expected(whole: Adapter) -> Array:
    """Returns the base with an adapter, in float64."""
    x, new = X.astype(np.float64), whole.replacements
    states = np.maximum(x @ (Q + delta(whole, "q")).T + BIAS, 0)
    result: Array = states @ new.get("head.weight", HEAD).T + new.get("head.bias", HEAD_BIAS)
    return result


def named(proto: Any, *names: str) -> Any:
    """Names nodes as TorchScript does: ONNX Runtime keeps those, and no metadata."""
    for node, name in zip(proto.graph.node, names, strict=False):
        node.name = name
    return proto


def run(session: Any, **feeds: Array) -> Array:
    first: Array = session.run(None, feeds or {"x": X})[0]
    return first


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return save_external(base_model(), tmp_path / "base" / "base.onnx")


@pytest.fixture
def sessions(base: Path, tmp_path: Path) -> Iterator[MergedSessions]:
    made = new(base, tmp_path)
    yield made
    made.close()


def new(base: Path, folder: Path, **fields: Any) -> MergedSessions:
    def options() -> Any:
        single = onnxruntime.SessionOptions()
        single.intra_op_num_threads = 1
        return single

    return MergedSessions(base, cache=folder / "cache", options=options, **fields)


def activated(sessions: MergedSessions, adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    for name, whole in adapters.items():
        sessions.activate(name, whole)
    return {name: sessions.wait(name, 60) for name in adapters}


def only(base: Path, folder: Path, whole: Adapter, **feeds: Array) -> tuple[Array, list[str]]:
    """Returns what one activated adapter computes, and what was noted."""
    sessions = new(base, folder)
    try:
        return run(activated(sessions, {"a": whole})["a"], **feeds), sessions.notes
    finally:
        sessions.close()


def test_every_adapter_gets_the_session_of_its_merged_model(
    sessions: MergedSessions, base: Path
) -> None:
    before = digests(base.parent)
    adapters = {f"a{seed}": variant(FIRST, seed, entries=bool(seed % 2)) for seed in range(4)}

    found = activated(sessions, adapters)

    for name, whole in adapters.items():
        assert sessions.session_for(name) is found[name]
        assert_near(run(found[name]), expected(whole))
    assert digests(base.parent) == before
    assert sessions.notes == []


def test_the_sessions_come_from_one_optimised_base(
    sessions: MergedSessions, tmp_path: Path
) -> None:
    activated(sessions, {"a": FIRST, "b": variant(FIRST, 1)})

    (kept,) = (tmp_path / "cache").iterdir()
    assert {path.name for path in kept.iterdir()} == {MODEL, DATA}


def test_adapters_with_heads_of_their_own_and_without_are_served_from_one_base(
    sessions: MergedSessions,
) -> None:
    heads = {
        "plain": FIRST,
        "head": adapter({"q": Q}, replacements={"head.weight": HEAD + 1}),
        "bias": adapter({"q": Q}, replacements={"head.bias": HEAD_BIAS - 2}),
        "both": adapter(
            {"q": Q}, replacements={"head.weight": HEAD * 2, "head.bias": HEAD_BIAS + 3}
        ),
    }

    found = activated(sessions, heads)

    for name, whole in heads.items():
        assert_near(run(found[name]), expected(whole))


def test_a_head_of_another_shape_than_the_graph_s_is_an_error_and_others_are_served(
    sessions: MergedSessions,
) -> None:
    other = adapter({"q": Q}, replacements={"head.weight": weight(5, 48)})
    sessions.activate("other", other)
    sessions.activate("fits", FIRST)

    with pytest.raises(TargetNotFoundError, match="E-REPLACEMENT-SHAPE"):
        sessions.wait("other", 60)
    assert_near(run(sessions.wait("fits", 60)), expected(FIRST))
    assert sessions.session_for("other") is None


def test_a_failure_is_told_to_all_that_wait_and_tried_again_when_asked(
    sessions: MergedSessions,
) -> None:
    wrong = adapter({"q": Q + 1})
    for _ in range(2):
        sessions.activate("a", wrong)
        for _ in range(2):
            with pytest.raises((BaseMismatchError, TargetNotFoundError)):
                sessions.wait("a", 60)
    sessions.activate("a", FIRST)

    assert_near(run(sessions.wait("a", 60)), expected(FIRST))


def test_a_wrong_base_is_refused_after_a_right_one_was_prepared(sessions: MergedSessions) -> None:
    activated(sessions, {"right": FIRST})
    nearly = Q.copy()
    nearly[0, 0] += 1e-3  # not among the samples: only the norm tells
    sessions.activate("wrong", adapter({"q": nearly}))

    with pytest.raises(BaseMismatchError):
        sessions.wait("wrong", 60)


def test_until_it_is_ready_there_is_no_session(
    sessions: MergedSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, prepare = threading.Event(), sessions._prepare

    def late(whole: Adapter) -> Any:
        assert go.wait(60)
        return prepare(whole)

    monkeypatch.setattr(sessions, "_prepare", late)
    start = time.perf_counter()
    sessions.activate("a", FIRST)
    assert time.perf_counter() - start < 1
    assert sessions.session_for("a") is None
    assert not sessions.names
    with pytest.raises(TimeoutError):
        sessions.wait("a", 0.01)
    go.set()

    session = sessions.wait("a", 60)
    assert sessions.session_for("a") is session
    assert sessions.names == ("a",)


def test_unknown_names(sessions: MergedSessions) -> None:
    assert sessions.session_for("a") is None
    sessions.deactivate("a")
    with pytest.raises(UnknownAdapterError, match="E-ADAPTER-UNKNOWN"):
        sessions.wait("a")


def test_the_same_adapter_is_made_once_and_another_of_its_name_takes_its_place(
    sessions: MergedSessions,
) -> None:
    first = activated(sessions, {"a": FIRST})["a"]
    assert activated(sessions, {"a": FIRST})["a"] is first
    other = variant(FIRST, 1)

    second = activated(sessions, {"a": other})["a"]

    assert sessions.session_for("a") is second
    assert_near(run(second), expected(other))
    assert_near(run(first), expected(FIRST))  # whoever still has it finishes


def test_a_session_that_is_let_go_of_finishes_its_runs(sessions: MergedSessions) -> None:
    session = activated(sessions, {"a": FIRST})["a"]

    sessions.deactivate("a")

    assert sessions.session_for("a") is None
    assert sessions.size == 0
    assert_near(run(session), expected(FIRST))


def test_the_budget_keeps_the_sessions_that_were_used_last(base: Path, tmp_path: Path) -> None:
    trial = new(base, tmp_path)
    activated(trial, {"a": FIRST})
    each = trial.size
    trial.close()
    sessions = new(base, tmp_path, budget=2 * each + each // 2)
    adapters = {name: variant(FIRST, seed) for seed, name in enumerate("abcd")}

    activated(sessions, {name: adapters[name] for name in "ab"})
    assert sessions.session_for("a") is not None
    activated(sessions, {"c": adapters["c"]})

    assert sessions.names == ("a", "c")
    assert sessions.session_for("b") is None
    assert sessions.size == 2 * each
    with pytest.raises(UnknownAdapterError, match="budget"):
        sessions.wait("b")
    assert_near(run(activated(sessions, {"b": adapters["b"]})["b"]), expected(adapters["b"]))
    assert sessions.names == ("c", "b")
    sessions.close()


def test_a_budget_that_no_session_fits_in_is_an_error(base: Path, tmp_path: Path) -> None:
    sessions = new(base, tmp_path, budget=100)
    sessions.activate("a", FIRST)

    with pytest.raises(UsageError, match="raise the budget"):
        sessions.wait("a", 60)
    assert sessions.size == 0
    sessions.close()


def test_a_base_that_changed_is_optimised_anew(base: Path, tmp_path: Path) -> None:
    only(base, tmp_path, FIRST)
    other = weight(48, 32, seed=77)
    arrays = {"w": other.T, "b": BIAS, "head": HEAD.T, "head_bias": HEAD_BIAS}
    save_external(model(TEXT, arrays, SCOPES), base)

    with pytest.raises((BaseMismatchError, TargetNotFoundError)):
        only(base, tmp_path, FIRST)
    whole = adapter({"q": other})
    y, _ = only(base, tmp_path, whole)

    states = np.maximum(X.astype(np.float64) @ (other + delta(whole, "q")).T + BIAS, 0)
    assert_near(y, states @ HEAD.T + HEAD_BIAS)


@pytest.mark.parametrize("inline", [False, True])
def test_a_base_whose_size_and_time_were_kept_is_optimised_anew_if_it_changed(
    inline: bool, base: Path, tmp_path: Path
) -> None:
    for factor in (1, 2):
        arrays = {"w": Q.T, "b": BIAS, "head": HEAD.T * factor, "head_bias": HEAD_BIAS}
        (save_model if inline else save_external)(model(TEXT, arrays, SCOPES), base)
        for path in base.parent.iterdir():
            os.utime(path, (1, 1))
        y, _ = only(base, tmp_path, FIRST)

        assert_near(y, (expected(FIRST) - HEAD_BIAS) * factor + HEAD_BIAS)


def test_a_graph_that_changed_is_known_by_what_it_holds(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fourier_runtimes.optimised._facts", lambda _: ())
    before = key_of(Model(base), [])
    save_external(
        model(
            TEXT.replace("Relu", "Tanh"),
            {"w": Q.T, "b": BIAS, "head": HEAD.T, "head_bias": HEAD_BIAS},
            SCOPES,
        ),
        base,
    )

    assert key_of(Model(base), []) != before


def test_a_base_is_kept_as_all_sessions_want_it_not_as_the_first_one_did(tmp_path: Path) -> None:
    text = """
        g (float[N, 32] x) => (float[N, 48] y) {
            [n] m = MatMul (x, w)
            s = Shape (x)
            i = Gather (s, zero)
            rows = Cast <to = 1> (i)
            y = Mul (m, rows)
        }
    """
    made = model(text, {"w": Q.T, "zero": np.array(0)}, {"n": "q"})
    base = save_model(made, tmp_path / "base.onnx")

    def for_one_row() -> Any:
        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name("N", 1)
        return options

    first = MergedSessions(base, cache=tmp_path / "cache", options=for_one_row)
    one = run(activated(first, {"a": FIRST})["a"], x=X[:1])
    first.close()
    all_rows, _ = only(base, tmp_path, FIRST)

    wanted = X.astype(np.float64) @ (Q + delta(FIRST, "q")).T
    assert_near(one, wanted[:1])
    assert_near(all_rows, wanted * len(X))


def test_of_adapters_that_cannot_be_merged_the_last_reasons_are_kept_alone(
    sessions: MergedSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activating, "_FAILURES", 3)
    wrong = [adapter({"nowhere": weight(40, 30)}) for _ in range(5)]
    held = [weakref.ref(one.entry_sets[0].coefficients) for one in wrong]
    while wrong:
        name = f"a{len(wrong)}"
        sessions.activate(name, wrong.pop())
        with pytest.raises(TargetNotFoundError):
            sessions.wait(name, 60)

    for name in ("a3", "a2", "a1"):
        with pytest.raises(TargetNotFoundError, match="nowhere"):
            sessions.wait(name, 60)
    for name in ("a5", "a4"):
        with pytest.raises(UnknownAdapterError):
            sessions.wait(name, 60)
    gc.collect()
    assert all(one() is None for one in held)


def test_many_can_share_a_cache_from_the_start(base: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda seed: only(base, tmp_path, variant(FIRST, seed)), range(6)))

    for seed, (y, notes) in enumerate(found):
        assert_near(y, expected(variant(FIRST, seed)))
        assert notes == []
    (kept,) = (tmp_path / "cache").iterdir()
    assert {path.name for path in kept.iterdir()} == {MODEL, DATA}


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_one_packed_weight(form: str, tmp_path: Path) -> None:
    base = save_model(split(FORMS[form]), tmp_path / "base.onnx")
    held = run_plainly(base, x=np.eye(IN, dtype=np.float32)).astype(np.float64)
    meant = {f"{SELF_ATTN}.{name}": PARTS[name][0] for name in ("q_proj", "v_proj")}
    first = adapter(meant, alpha=400.0)

    y, _ = only(base, tmp_path, first, x=np.eye(IN, dtype=np.float32))

    assert_near(y, held + changed(first).T)


QUANTISED = {
    "MatMulNBits": nbits(4, 16, "packed"),
    "MatMulNBits, 8 bits": nbits(8, 16),
    "DequantizeLinear": qdq("channel"),
    "QDQ around the product": with_activations(qdq("channel")),
}


@pytest.mark.parametrize("form", QUANTISED)
def test_quantised_bases(form: str, tmp_path: Path) -> None:
    base = save_model(QUANTISED[form].model(), tmp_path / "base.onnx")
    x = np.random.default_rng(2).standard_normal((7, IN)).astype(np.float32)
    (held,) = onnxruntime.InferenceSession(base).run(None, {"x": x})
    whole = adapter({"enc.q": weight(24, IN)}, alpha=400.0)

    y, _ = only(base, tmp_path, whole, x=x)

    exact = x.astype(np.float64) @ delta(whole, "enc.q").T
    assert np.abs(y - held - exact).max() <= 1e-3 * np.abs(exact).max()


def test_a_convolution_gets_the_layout_of_its_processor_when_it_is_opened(tmp_path: Path) -> None:
    kernel = weight(16, 8 * 9, seed=4).reshape(16, 8, 3, 3)
    text = (
        "g (float[N, 8, H, W] x) => (float[N, 16, H2, W2] y)"
        " { [n] y = Conv <pads = [1, 1, 1, 1], kernel_shape = [3, 3]> (x, k) }"
    )
    base = save_model(model(text, {"k": kernel}, {"n": "q"}), tmp_path / "base.onnx")
    whole = adapter({"q": kernel.reshape(16, -1)}, kind="conv2d")
    x = np.random.default_rng(2).standard_normal((2, 8, 6, 6)).astype(np.float32)

    y, notes = only(base, tmp_path, whole, x=x)

    merged = kernel + delta(whole, "q").reshape(kernel.shape)
    assert_near(y, convolved(x, merged, 1, (1, 1)))
    assert notes == []
    assert optimised(base, ["CPUExecutionProvider"], tmp_path / "cache").reoptimised


def test_a_weight_that_is_folded_away_is_merged_into_the_base_as_it_is(tmp_path: Path) -> None:
    """ONNX Runtime multiplies a kernel by what a BatchNormalization behind it divides by."""
    kernel = weight(16, 8, seed=4).reshape(16, 8, 1, 1)
    text = (
        "g (float[N, 8, 6, 6] x) => (float[N, 16, 6, 6] y)"
        " { [n] c = Conv (x, k) y = BatchNormalization (c, scale, bias, mean, var) }"
    )
    rng = np.random.default_rng(1)
    scale, bias, mean = (rng.standard_normal(16).astype(np.float32) for _ in range(3))
    var = rng.uniform(1, 2, 16).astype(np.float32)
    arrays = {"k": kernel, "scale": scale, "bias": bias, "mean": mean, "var": var}
    base = save_model(model(text, arrays, {"n": "q"}), tmp_path / "base.onnx")
    whole = adapter({"q": kernel.reshape(16, -1)}, kind="conv2d")
    x = rng.standard_normal((2, 8, 6, 6)).astype(np.float32)

    y, notes = only(base, tmp_path, whole, x=x)

    merged = kernel + delta(whole, "q").reshape(kernel.shape)
    states = np.einsum("oi,nihw->nohw", merged[:, :, 0, 0], x.astype(np.float64))
    normal = (scale / np.sqrt(var.astype(np.float64) + 1e-5)).reshape(1, -1, 1, 1)
    by_channel = [values.astype(np.float64).reshape(1, -1, 1, 1) for values in (mean, bias)]
    assert_near(y, (states - by_channel[0]) * normal + by_channel[1])
    assert len(notes) == 1
    assert "merged into the base as it is" in notes[0]


def test_a_constant_that_is_folded_into_a_bias_is_not_lost_with_it(tmp_path: Path) -> None:
    kernel = weight(16, 8, seed=4).reshape(16, 8, 1, 1)
    bias, more = weight(1, 16, seed=5)[0], weight(1, 16, seed=6).reshape(1, 16, 1, 1)
    text = (
        "g (float[N, 8, 6, 6] x) => (float[N, 16, 6, 6] y)"
        " { [n] c = Conv (x, k, b) y = Add (c, more) }"
    )
    arrays = {"k": kernel, "b": bias, "more": more}
    base = save_model(named(model(text, arrays), "/enc/q/Conv"), tmp_path / "base.onnx")
    new_bias = weight(1, 16, seed=7)[0]
    whole = adapter(
        {"enc.q": kernel.reshape(16, -1)}, kind="conv2d", replacements={"enc.q.bias": new_bias}
    )
    x = np.random.default_rng(2).standard_normal((2, 8, 6, 6)).astype(np.float32)

    y, _ = only(base, tmp_path, whole, x=x)

    merged = kernel + delta(whole, "enc.q").reshape(kernel.shape)
    states = np.einsum("oi,nihw->nohw", merged[:, :, 0, 0], x.astype(np.float64))
    assert_near(y, states + new_bias.reshape(1, -1, 1, 1) + more)


TWINS = {
    "one tensor": ("[n] y = MatMul (x, w) i = Identity (x) [m] z = MatMul (i, w)", {"w": Q.T}),
    "one name": (
        "[n] a = MatMul (x, w) y = Relu (a) [m] b = MatMul (x, w) z = Relu (b)",
        {"w": Q.T},
    ),
}


@pytest.mark.parametrize("form", TWINS)
def test_two_layers_that_begin_equal_stay_two(form: str, tmp_path: Path) -> None:
    """ONNX Runtime makes one node of two that compute the same from one tensor."""
    body, arrays = TWINS[form]
    text = f"g (float[N, 32] x) => (float[N, 48] y, float[N, 48] z) {{ {body} }}"
    base = save_model(model(text, arrays, {"n": "one", "m": "two"}), tmp_path / "base.onnx")
    whole = adapter({"one": Q})
    sessions = new(base, tmp_path)

    y, z = activated(sessions, {"a": whole})["a"].run(None, {"x": X})

    sessions.close()
    least = 0 if form == "one name" else -np.inf
    assert_near(y, np.maximum(X.astype(np.float64) @ (Q + delta(whole, "one")).T, least))
    assert_near(z, np.maximum(X.astype(np.float64) @ Q.T, least))
    assert "merged into the base as it is" in sessions.notes[0]


def test_two_small_biases_that_begin_equal_stay_two(tmp_path: Path) -> None:
    """ONNX Runtime takes constants of up to eight equal values for one."""
    w, bias = weight(6, 32, seed=2), weight(1, 6, seed=3)[0]
    text = (
        "g (float[N, 32] x) => (float[N, 6] y, float[N, 6] z) {"
        " [n] m = MatMul (x, w) r = Relu (m) [a] y = Add (r, b) [c] z = Add (r, d) }"
    )
    names = ("/q/MatMul", "/Relu", "/one/Add", "/two/Add")
    made = named(model(text, {"w": w.T, "b": bias, "d": bias}), *names)
    base = save_model(made, tmp_path / "base.onnx")
    whole = adapter({"q": w}, replacements={"one.bias": bias + 1})
    sessions = new(base, tmp_path)

    y, z = activated(sessions, {"a": whole})["a"].run(None, {"x": X})

    sessions.close()
    states = np.maximum(X.astype(np.float64) @ (w + delta(whole, "q")).T, 0)
    assert_near(y, states + bias + 1)
    assert_near(z, states + bias)


def test_what_onnx_runtime_cannot_save_is_opened_as_it_is(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        message = "compiled nodes cannot be saved"
        raise RuntimeError(message)

    monkeypatch.setattr("fourier_runtimes.optimised._optimise", broken)

    y, notes = only(base, tmp_path, FIRST)

    assert_near(y, expected(FIRST))
    assert notes == ["the base is not kept optimised: compiled nodes cannot be saved"]


def test_adapters_without_fingerprints_go_by_the_names_that_are_left(tmp_path: Path) -> None:
    base = save_model(base_model(), tmp_path / "base.onnx")
    whole = adapter({"q": Q}, prints=False)

    y, _ = only(base, tmp_path, whole)

    assert_near(y, expected(whole))


def test_a_layout_that_is_no_longer_prepared_is_prepared_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activating, "_LAYOUTS", 1)
    sessions = new(base, tmp_path)
    other = dataclasses.replace(FIRST, replacements={"head.weight": HEAD + 1})

    found = activated(sessions, {"a": FIRST, "b": other, "c": variant(FIRST, 1)})

    assert_near(run(found["b"]), expected(other))
    assert_near(run(found["c"]), expected(variant(FIRST, 1)))
    assert len(sessions._layouts) == 1
    sessions.close()


def test_threads_activate_and_run_at_once(sessions: MergedSessions) -> None:
    adapters = {f"a{seed}": variant(FIRST, seed) for seed in range(8)}

    def serve(number: int) -> Array:
        name = f"a{number % 8}"
        sessions.activate(name, adapters[name])
        return run(sessions.wait(name, 60))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(serve, range(64)))

    for number, y in enumerate(found):
        assert_near(y, expected(adapters[f"a{number % 8}"]))


def test_closing_cancels_what_is_not_begun(base: Path, tmp_path: Path) -> None:
    sessions = new(base, tmp_path)
    for seed in range(5):
        sessions.activate(f"a{seed}", variant(FIRST, seed))

    sessions.close()

    assert sessions.names == ()
    with pytest.raises(UnknownAdapterError):
        sessions.wait("a4")


def test_paths_may_be_text(base: Path, tmp_path: Path) -> None:
    sessions = MergedSessions(str(base), cache=str(tmp_path / "cache"))

    y = run(activated(sessions, {"a": FIRST})["a"])

    assert_near(y, expected(FIRST))
    assert sessions.notes == []
    sessions.close()


def test_where_optimised_bases_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    monkeypatch.setattr("sys.platform", "linux")
    assert default_cache() == Path("caches/fourier-format/optimised")
    monkeypatch.setenv("FOURIER_CACHE", "mine")
    assert default_cache() == Path("mine")
