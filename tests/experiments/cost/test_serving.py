from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from experiments.cost import serving
from experiments.cost.benches import forms_graphs, serve_cases, serve_lora
from experiments.cost.serving import measured, work_of
from experiments.trial import Context
from tests import tolerances

WIDTH, ROWS, TOKENS, RANK = 48, 3, 5, 2


def context_of(folder: Path) -> Context:
    return Context(folder, folder, folder, "cpu", lambda: None)


def test_lora_forms_answer_as_their_factors_say(tmp_path: Path) -> None:
    setup = serving.setup_of(context_of(tmp_path), ROWS, TOKENS, [])
    setup.files.base.write_bytes(forms_graphs.pair("base", WIDTH, 1))
    adapter = forms_graphs.adapter_of(WIDTH, 1)
    x = np.random.default_rng(0).standard_normal((ROWS, TOKENS, WIDTH), np.float32)

    jobs: Any = serving.loras(WIDTH, [RANK], setup)

    base = onnxruntime.InferenceSession(setup.files.base).run(None, {"x": x})[0]
    first, second = serve_lora.names(forms_graphs.TARGETS[0])
    deltas = [
        one[first].astype(np.float64) @ one[second]
        for one in (serve_lora.factors(adapter, seed, RANK) for seed in range(ROWS))
    ]
    for form, own in (("batched", deltas), ("one", deltas[:1] * ROWS)):
        expected = base + np.stack([x[k] @ delta for k, delta in enumerate(own)])
        found = jobs[f"lora {RANK} {form}"].answers()[0]
        assert np.abs(found - expected).max() <= tolerances.ONNX_OUTPUT_F32 * np.abs(expected).max()
        assert np.abs(expected - base).max() > 0.01 * np.abs(expected).max()


def test_a_trial_measures_each_form(tmp_path: Path) -> None:
    found = measured(WIDTH, ROWS, TOKENS, [10], [RANK], 1, context_of(tmp_path))

    assert found["provider"] == "CPUExecutionProvider"
    forms = {(form["kind"], form["size"], form["adapters"]) for form in found["forms"]}
    own = {("live", 10, a) for a in ("one", "rows")}
    assert forms == {("base", 0, "one")} | own | {
        ("lora", RANK, a) for a in ("one", "rows", "batched")
    }
    assert all(form["seconds"][0] > 0 and form["work"]["run"] >= 1 for form in found["forms"])
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_onnx_runtime_cannot_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    context = replace(context_of(tmp_path), device="cuda")

    with pytest.raises(SystemExit, match="no CUDA here: pip install onnxruntime-gpu"):
        measured(WIDTH, ROWS, TOKENS, [10], [RANK], 1, context)


def test_a_single_row_has_no_forms_of_several(tmp_path: Path) -> None:
    found = measured(WIDTH, 1, TOKENS, [10], [RANK], 1, context_of(tmp_path))

    assert {form["adapters"] for form in found["forms"]} == {"one"}


@pytest.fixture
def case() -> Any:
    return serve_cases.Case("pair", ROWS, TOKENS)


def test_a_run_for_each_row_reads_the_weights_for_each_row(case: Any) -> None:
    one, rows = (work_of("lora", RANK, adapters, WIDTH, case) for adapters in ("one", "rows"))

    assert rows["base weight"] == ROWS * one["base weight"]
    assert rows["base product"] == one["base product"]
    assert rows["run"] == ROWS * one["run"]


def test_rows_of_one_token_under_one_adapter_are_one_long_row() -> None:
    """The graph folds rows that one adapter is fed for; with an adapter each they stay rows."""
    many = serve_cases.Case("pair", 32, 1)

    orders = {
        adapters: {unit.split()[0] for unit in work_of("live", 10, adapters, WIDTH, many)}
        for adapters in ("one", "rows")
    }

    assert orders["one"] - {"run", "base"} == {"by_row"}
    assert orders["rows"] - {"run", "base"} == {"by_token"}


def test_a_live_graph_does_the_work_of_its_base_and_its_branch(case: Any) -> None:
    base = work_of("base", 0, "one", WIDTH, case)
    live = work_of("live", 10, "rows", WIDTH, case)

    assert live.items() > base.items()
    assert {unit.split()[0] for unit in live.keys() - base.keys()} <= {"by_row", "by_token"}
