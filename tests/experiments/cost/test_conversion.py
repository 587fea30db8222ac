from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from experiments.cost.benches import forms_graphs, serve_lora
from experiments.cost.conversion import fourier_deltas, lora_deltas, measured, merge, weights_of
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
    before = weights_of(onnx.load(base))
    found = {name: np.zeros_like(weight) for name, weight in before.items()}

    merge(before, fourier_deltas(adapter), found)

    expected = weights(onnx.load(merged))
    assert found.keys() == set(forms_graphs.TARGETS)
    for name, value in found.items():
        whole = expected[f"{name}.weight"]
        assert np.abs(value - whole).max() <= tolerances.DELTA_F32 * np.abs(whole).max()
        assert not np.array_equal(value, before[name])


def test_delta_weights_of_both_methods_lie_as_the_graph_stores_weights() -> None:
    """A strided one would make the sum slower, for one method alone."""
    adapter = forms_graphs.adapter_of(WIDTH, N)
    weight = next(
        iter(weights_of(onnx.load_from_string(forms_graphs.pair("base", WIDTH, 1))).values())
    )

    for deltas in (fourier_deltas(adapter), lora_deltas(adapter, 3)):
        for delta in deltas.values():
            made = delta()
            assert made.flags.c_contiguous
            assert (made.shape, made.dtype) == (weight.shape, weight.dtype)


def test_merging_a_lora_adds_its_product(tmp_path: Path) -> None:
    adapter = forms_graphs.adapter_of(WIDTH, 1)
    before = weights_of(onnx.load_from_string(forms_graphs.pair("base", WIDTH, 1)))
    found = {name: np.zeros_like(weight) for name, weight in before.items()}
    factors = serve_lora.factors(adapter, 0, 3)

    merge(before, lora_deltas(adapter, 3), found)

    for target in forms_graphs.TARGETS:
        first, second = (factors[name].astype(np.float64) for name in serve_lora.names(target))
        expected = before[target] + first @ second
        off = np.abs(found[target] - expected).max()
        assert off <= tolerances.DELTA_F32 * np.abs(expected).max()


def test_a_trial_measures_each_job_and_compares_the_graphs(tmp_path: Path) -> None:
    context = Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: None)

    found = measured(WIDTH, [10, 30], [2], 2, context)

    jobs = {(job["kind"], job["size"], job["job"]) for job in found["jobs"]}
    every = {(kind, size) for kind, size, _ in jobs}
    assert every == {("fourier", 10), ("fourier", 30), ("lora", 2)}
    assert {job for kind, _, job in jobs if kind == "lora"} == {"delta", "merge"}
    assert {job for kind, _, job in jobs if kind == "fourier"} == {"delta", "merge", "convert"}
    assert len(found["load"]) == 2
    assert found["same_nodes"] is True
    assert found["merged_bytes"] == found["base_bytes"] > 2 * 4 * WIDTH**2
    assert list(tmp_path.iterdir()) == []
