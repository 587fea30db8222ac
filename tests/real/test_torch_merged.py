"""Layers in subgraphs and functions, convolutions and embeddings: merged, and held to torch."""
# ruff: noqa: TID251 -- torch is what the converter is compared with

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fourier_converters.onnx import to_onnx
from fourier_format.adapter import Adapter, Array
from fourier_format.errors import TargetNotFoundError
from fourier_format.fingerprint import without_fingerprints
from tests.fourier_converters.adapters import delta
from tests.real.checks import compare, figures, run_onnx
from tests.real.handmade import adapter_of
from tests.real.torch_graphs import TORCH_SAMPLES, TorchGraph, TorchGraphOf
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
NO_KIND = {"transposed", "line"}
"""Layers for which the format has no kind: ConvTranspose2d and Conv1d."""
_BY_NAMES = [
    name for name in TORCH_SAMPLES if name.startswith(("convolutions", "embeddings", "loop"))
]


def _matrix(name: str, weight: NDArray[np.float32]) -> tuple[str, Array]:
    """Return the kind and the canonical matrix (out, in) of a weight as torch stores it."""
    if weight.ndim == 4:
        return "conv2d", weight.reshape(weight.shape[0], -1)
    return ("embedding", weight.T) if name in {"words", "places"} else ("linear", weight)


def _adapter(graph: TorchGraph) -> Adapter:
    targets = {n: w for n, w in graph.targets().items() if n not in NO_KIND}
    return adapter_of({name: _matrix(name, weight) for name, weight in targets.items()})


def _assert_equal_to_torch(graph: TorchGraph, whole: Adapter, merged: Path) -> None:
    weights = graph.targets()
    changes = {}
    for target in whole.targets:
        change = delta(whole, target.name)  # (out, in)
        stored = change.T if target.kind == "embedding" else change
        changes[target.name] = stored.reshape(weights[target.name].shape).astype(np.float32)
    expected = graph.adapted(changes)
    for inputs, output in zip(graph.inputs(), expected, strict=True):
        (got,) = run_onnx(merged, inputs)
        figures.info("off by %.1e", compare(output, got))
        assert compare(output, got) <= ONNX_OUTPUT_F32


@pytest.mark.parametrize("name", TORCH_SAMPLES)
def test_merged_by_the_fingerprint_it_computes_what_torch_does(
    name: str, torch_graph_of: TorchGraphOf, tmp_path: Path
) -> None:
    """Whatever branch, body or call the layer is in; all inputs together take every way."""
    graph = torch_graph_of(name)
    whole, merged = _adapter(graph), tmp_path / "merged.onnx"

    report = to_onnx(whole, graph.model, merged)

    assert {row.target for row in report.rows} == {target.name for target in whole.targets}
    _assert_equal_to_torch(graph, whole, merged)


@pytest.mark.parametrize("name", _BY_NAMES)
def test_merged_by_names_it_computes_the_same(
    name: str, torch_graph_of: TorchGraphOf, tmp_path: Path
) -> None:
    graph = torch_graph_of(name)
    whole, merged = _adapter(graph), tmp_path / "merged.onnx"

    to_onnx(without_fingerprints(whole), graph.model, merged)

    _assert_equal_to_torch(graph, whole, merged)


def test_a_transposed_convolution_has_no_kind_and_is_not_found(
    torch_graph_of: TorchGraphOf, tmp_path: Path
) -> None:
    graph = torch_graph_of("convolutions-dynamo")
    weight = torch.from_numpy(graph.targets()["transposed"]).transpose(0, 1).flatten(1).numpy()

    with pytest.raises(TargetNotFoundError, match="transposed"):
        to_onnx(adapter_of({"transposed": ("conv2d", weight)}), graph.model, tmp_path / "m.onnx")

    assert list(tmp_path.iterdir()) == []
