from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from experiments.cost.benches import forms_graphs, serve_cases, serve_lora
from experiments.cost.serving import batched_lora, measured, work_of
from experiments.trial import Context
from tests import tolerances

WIDTH, ROWS, TOKENS, RANK = 48, 3, 5, 2


def test_factors_that_are_fed_a_row_give_what_each_row_gets_alone(tmp_path: Path) -> None:
    base, lora = tmp_path / "base.onnx", tmp_path / "lora.onnx"
    base.write_bytes(forms_graphs.pair("base", WIDTH, 1))
    adapter = forms_graphs.adapter_of(WIDTH, 1)
    serve_lora.add_lora(base, adapter, lora)
    made = [serve_lora.factors(adapter, seed, RANK) for seed in range(ROWS)]
    x = np.random.default_rng(0).standard_normal((ROWS, TOKENS, WIDTH), np.float32)
    alone, whole = (onnxruntime.InferenceSession(path) for path in (lora, batched_lora(lora)))
    stacked = {name: np.stack([one[name] for one in made]) for name in made[0]}

    found = whole.run(None, {"x": x, **stacked})[0]

    expected = np.concatenate(
        [alone.run(None, {"x": x[k : k + 1], **one})[0] for k, one in enumerate(made)]
    )
    without = onnxruntime.InferenceSession(base).run(None, {"x": x})[0]
    assert np.abs(found - expected).max() <= tolerances.ONNX_OUTPUT_F32 * np.abs(expected).max()
    assert np.abs(expected - without).max() > 0.01 * np.abs(expected).max()


def test_a_trial_measures_each_form(tmp_path: Path) -> None:
    context = Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: None)

    found = measured(WIDTH, ROWS, TOKENS, [10], [RANK], 1, context)

    assert found["provider"] == "CPUExecutionProvider"
    forms = {(form["kind"], form["size"], form["adapters"]) for form in found["forms"]}
    own = {("live", 10, a) for a in ("one", "rows")}
    assert forms == {("base", 0, "one")} | own | {
        ("lora", RANK, a) for a in ("one", "rows", "batched")
    }
    assert all(form["seconds"][0] > 0 and form["work"]["run"] >= 1 for form in found["forms"])
    assert list(tmp_path.iterdir()) == []


def test_a_single_row_has_no_forms_of_several(tmp_path: Path) -> None:
    context = Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: None)

    found = measured(WIDTH, 1, TOKENS, [10], [RANK], 1, context)

    assert {form["adapters"] for form in found["forms"]} == {"one"}


@pytest.fixture
def case() -> Any:
    return serve_cases.Case("pair", ROWS, TOKENS)


def test_a_run_for_each_row_reads_the_weights_for_each_row(case: Any) -> None:
    one, rows = (work_of("lora", RANK, adapters, WIDTH, case) for adapters in ("one", "rows"))

    assert rows["base weight"] == ROWS * one["base weight"]
    assert rows["base product"] == one["base product"]
    assert rows["run"] == ROWS * one["run"]


def test_a_live_graph_does_the_work_of_its_base_and_its_branch(case: Any) -> None:
    base = work_of("base", 0, "one", WIDTH, case)
    live = work_of("live", 10, "rows", WIDTH, case)

    assert live.items() > base.items()
    assert {unit.split()[0] for unit in live.keys() - base.keys()} <= {"by_row", "by_token"}
