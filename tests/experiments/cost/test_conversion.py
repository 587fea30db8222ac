from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from experiments.cost.benches import forms_graphs, serve_lora
from experiments.cost.conversion import fourier_deltas, lora_deltas, measured, merge
from experiments.trial import Context
from fourier_converters.onnx import to_onnx
from tests import tolerances

WIDTH, N = 48, 30


def weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def test_merging_adds_what_the_converter_adds(tmp_path: Path) -> None:
    base, merged = tmp_path / "base.onnx", tmp_path / "merged.onnx"
    base.write_bytes(forms_graphs.pair("base", WIDTH, 1))
    adapter = forms_graphs.adapter_of(WIDTH, N)
    to_onnx(adapter, base, merged)
    model = onnx.load(base)

    merge(model, fourier_deltas(adapter))

    before, found, expected = (weights(m) for m in (onnx.load(base), model, onnx.load(merged)))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        off = np.abs(found[name] - value).max()
        assert off <= tolerances.DELTA_F32 * np.abs(value).max()
    changed = {name for name in found if not np.array_equal(found[name], before[name])}
    assert changed == {f"{name}.weight" for name in forms_graphs.TARGETS}


def test_merging_a_lora_adds_its_product(tmp_path: Path) -> None:
    adapter = forms_graphs.adapter_of(WIDTH, 1)
    base, model = (onnx.load_from_string(forms_graphs.pair("base", WIDTH, 1)) for _ in range(2))
    factors = serve_lora.factors(adapter, 0, 3)

    merge(model, lora_deltas(adapter, 3))

    before, found = weights(base), weights(model)
    for target in forms_graphs.TARGETS:
        first, second = (factors[name].astype(np.float64) for name in serve_lora.names(target))
        expected = before[f"{target}.weight"] + first @ second
        off = np.abs(found[f"{target}.weight"] - expected).max()
        assert off <= tolerances.DELTA_F32 * np.abs(expected).max()


def test_a_trial_measures_each_job_and_compares_the_graphs(tmp_path: Path) -> None:
    context = Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: None)

    found = measured(WIDTH, [10, 30], [2], 2, context)

    jobs = {(job["kind"], job["size"], job["job"]) for job in found["jobs"]}
    every = {(kind, size) for kind, size, _ in jobs}
    assert every == {("fourier", 10), ("fourier", 30), ("lora", 2)}
    assert {job for kind, _, job in jobs if kind == "lora"} == {"delta", "merge"}
    assert {job for kind, _, job in jobs if kind == "fourier"} == {"delta", "merge", "convert"}
    assert found["same_nodes"] is True
    assert found["merged_bytes"] == found["base_bytes"] > 2 * 4 * WIDTH**2
    assert list(tmp_path.iterdir()) == []
