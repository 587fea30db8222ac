"""Many adapters on one session: every row is that row alone on its merged model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_format import Adapter, combine
from fourier_format.errors import UnsupportedError
from fourier_runtimes import AdapterSession
from tests.real.serving import Wanted, batch, form, one_thread, variants
from tests.real.workspace import WorkspaceOf, build_base
from tests.tolerances import SERVED_ROWS_EFFECT, SERVED_ROWS_F16, SERVED_ROWS_F32

pytestmark = pytest.mark.real
_SLOW = pytest.mark.slow
_FORMS = [
    (5, "torchscript", ()),
    (5, "dynamo", ("int4",)),
    pytest.param(32, "torchscript", (), marks=_SLOW),
    pytest.param(32, "torchscript", ("int4",), marks=_SLOW),
    pytest.param(32, "dynamo", (), marks=_SLOW),
    pytest.param(32, "dynamo", ("int4",), marks=_SLOW),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOURIER_CACHE", str(tmp_path / "cache"))


def assert_rows(wanted: Wanted, session: AdapterSession, asked: Any, **bars: float) -> None:
    """Hold the rows of one run to both bars."""
    output, effect = wanted.errors(session.run(wanted.inputs, asked))
    assert output <= bars.get("output", SERVED_ROWS_F32)
    assert effect <= bars.get("effect", SERVED_ROWS_EFFECT)


@pytest.mark.parametrize(("rows", "exporter", "tools"), _FORMS)
def test_each_row_is_that_row_alone_on_its_merged_model(
    rows: int, exporter: Any, tools: tuple[str, ...], workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    base = form(workspace_of("minilm-query-value"), exporter, *tools)
    adapters = {f"a{i}": a for i, a in enumerate(variants(base.adapter, rows - 1))}
    asked: list[str | None] = [*adapters]
    asked.insert(rows // 2, None)
    wanted = Wanted(base.base, batch(rows), [n if n is None else adapters[n] for n in asked])

    assert wanted.smallest_effect() > 0.05
    for model in (base.base, base.live):
        with AdapterSession(model, session_options=one_thread, adapters=adapters) as session:
            assert_rows(wanted, session, asked)
    with AdapterSession(
        base.live, session_options=one_thread, adapters=adapters, binding="bound"
    ) as session:
        assert_rows(wanted, session, asked)
    with AdapterSession(
        base.live, session_options=one_thread, adapters=adapters, dtype="float16", folder=tmp_path
    ) as session:
        assert_rows(wanted, session, asked, output=SERVED_ROWS_F16, effect=SERVED_ROWS_F16)


@pytest.mark.parametrize(("exporter", "tools"), [("dynamo", ()), ("torchscript", ("int4",))])
def test_a_row_with_a_blend_is_that_row_alone_on_the_merged_sum(
    exporter: Any, tools: tuple[str, ...], workspace_of: WorkspaceOf
) -> None:
    base = form(workspace_of("minilm-query-value"), exporter, *tools)
    a, b, c = variants(base.adapter, 3)
    asked = [{"a": 0.7, "b": 0.3}, {"c": -0.5}, None, {"a": 1.0, "b": 1.0, "c": 0.25}]
    sums = [
        combine([a, b], [0.7, 0.3]),
        combine([c], [-0.5]),
        None,
        combine([a, b, c], [1, 1, 0.25]),
    ]
    wanted = Wanted(base.base, batch(4), sums)

    for model in (base.base, base.live):
        with AdapterSession(
            model, session_options=one_thread, adapters={"a": a, "b": b, "c": c}
        ) as session:
            assert_rows(wanted, session, asked)


@pytest.mark.parametrize(("exporter", "tools"), [("torchscript", ()), ("dynamo", ("int4",))])
def test_rows_have_heads_of_their_own_or_the_base_s(
    exporter: Any, tools: tuple[str, ...], workspace_of: WorkspaceOf
) -> None:
    workspace = workspace_of("minilm-classifier")
    base = form(workspace, exporter, *tools)
    heads = variants(base.adapter, 4)
    bare = [replace(a, replacements={}) for a in variants(base.adapter, 2, 9)]
    adapters = dict(zip("abcdef", [*heads, *bare], strict=True))
    head = base_head(build_base(workspace.case))
    assert head.keys() == heads[0].replacements.keys()
    blends: list[Mapping[str, float]] = [{"a": 0.7, "b": 0.3}, {"c": 0.5, "e": 1.0}]
    asked = [*"abcdef", None, *blends]
    alone = [*adapters.values(), None, *(summed(adapters, blend, head) for blend in blends)]
    wanted = Wanted(base.base, batch(len(asked)), alone)

    for model in (base.base, base.live):
        with AdapterSession(model, session_options=one_thread, adapters=adapters) as session:
            assert_rows(wanted, session, asked)
    with AdapterSession(
        base.live, session_options=one_thread, adapters=adapters, binding="fixed"
    ) as session:
        assert_rows(wanted, session, asked)


def base_head(model: Any) -> dict[str, Any]:
    return {
        f"classifier.{name}": tensor.detach().numpy()
        for name, tensor in model.classifier.named_parameters()
    }


def summed(adapters: Mapping[str, Adapter], blend: Mapping[str, float], head: Any) -> Adapter:
    """Return the weighted sum; of heads, the sum of how each differs from the base's."""
    parts = [replace(adapters[name], replacements={}) for name in blend]
    tensors = {
        name: values.astype(np.float64)
        + sum(
            weight * (adapters[one].replacements[name].astype(np.float64) - values)
            for one, weight in blend.items()
            if adapters[one].replacements
        )
        for name, values in head.items()
    }
    whole = combine(parts, list(blend.values()))
    return replace(whole, replacements={n: v.astype(np.float32) for n, v in tensors.items()})


@pytest.mark.parametrize(
    ("case", "exporter", "tools"),
    [
        ("minilm-query-value", "torchscript", ()),
        ("minilm-query-value", "dynamo", ("int4",)),
        ("minilm-classifier", "dynamo", ()),
    ],
)
def test_an_activated_adapter_answers_the_same(
    case: str, exporter: Any, tools: tuple[str, ...], workspace_of: WorkspaceOf
) -> None:
    base = form(workspace_of(case), exporter, *tools)
    adapter, other = variants(base.adapter, 2)
    wanted = Wanted(base.base, batch(2), [adapter, adapter])

    for model in (base.base, base.live):
        with AdapterSession(
            model, session_options=one_thread, adapters={"a": adapter, "b": other}
        ) as session:
            assert_rows(wanted, session, "a")
            session.activate("a", wait=True)
            session.activate("b", wait=True)
            merged = session._merges._activator
            assert merged is not None
            assert merged.session_for("a") is not None
            assert_rows(wanted, session, "a")
            assert_rows(wanted, session, ["a", "a"])
            session.deactivate("a")
            assert_rows(wanted, session, "a")


def test_a_live_graph_whose_attention_was_opened_says_what_activation_needs(
    workspace_of: WorkspaceOf,
) -> None:
    base = form(workspace_of("bert-attention-written-out"), "torchscript", "fused")
    options: dict[str, Any] = {"session_options": one_thread, "adapters": {"a": base.adapter}}
    inputs = dict(base.workspace.reference().inputs)

    with AdapterSession(base.live, **options) as session:
        (before, *_) = session.run(inputs, "a")
        with pytest.raises(UnsupportedError, match="give `plain`"):
            session.activate("a", wait=True)
        (after, *_) = session.run(inputs, "a")
    with AdapterSession(base.live, plain=base.base, **options) as session:
        session.activate("a", wait=True)
        (merged, *_) = session.run(inputs, "a")

    assert np.array_equal(before, after)
    assert np.abs(merged - before).max() <= SERVED_ROWS_F32 * np.abs(before).max()
