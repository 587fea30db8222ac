"""Half-precision bases: one rounding, to nearest even, and no more error than the base has."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.real.checks import deltas, figures, nearest_stored, run_onnx, worst
from tests.real.exports import Export, Exporter
from tests.real.routes import one_step, two_steps
from tests.real.workspace import Workspace, WorkspaceOf, build_base
from tests.tolerances import HALF_ERROR_RATIO

pytestmark = pytest.mark.real

# TorchScript's half-precision BERT mixes types at LayerNormalization and loads nowhere.
_EXPORTS: list[tuple[str, Exporter]] = [
    ("minilm-query-value", "dynamo"),
    ("bert-all-biases", "dynamo"),
    ("roberta-trained-head", "dynamo"),
    ("llama-grouped-queries", "dynamo"),
    ("llama-grouped-queries", "torchscript"),
    ("gpt2-conv1d", "dynamo"),
    ("gpt2-conv1d", "torchscript"),
]
_BFLOAT16_EXPORTS = [pair for pair in _EXPORTS if pair[0].startswith(("llama", "gpt2"))]


def _export(workspace: Workspace, exporter: Exporter, dtype: torch.dtype) -> Path:
    return workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap, dtype=dtype))


def _assert_little_error(workspace: Workspace, base: Path, merged: Path) -> None:
    reference = workspace.reference()  # float32 from the float32 weights
    own = worst(reference.base, run_onnx(base, reference.inputs))
    error = worst(reference.adapted, run_onnx(merged, reference.inputs))
    figures.info("float16 base %.1e, merged %.1e, ratio %.2f", own, error, error / own)
    assert error <= HALF_ERROR_RATIO * own


@pytest.mark.parametrize(("name", "exporter"), _EXPORTS)
def test_float16_model_is_about_as_exact_as_its_base(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The float16 checkpoint and the float16 graph hold the same weights."""
    workspace = workspace_of(name)
    base = _export(workspace, exporter, torch.float16)

    half = workspace.safetensors(torch.float16)
    merged = two_steps(workspace.adapter(), half, base, tmp_path)

    _assert_little_error(workspace, base, merged)


@pytest.mark.parametrize(("name", "exporter"), _EXPORTS[:1] + _EXPORTS[-1:])
def test_float32_checkpoint_fits_the_float16_graph(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Trained in float32, served in float16: fingerprints are compared after rounding."""
    workspace = workspace_of(name)
    base = _export(workspace, exporter, torch.float16)

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    _assert_little_error(workspace, base, merged)


@pytest.mark.parametrize(("name", "exporter"), _BFLOAT16_EXPORTS)
def test_bfloat16_weights_are_right_to_the_bit(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Each weight is base + delta rounded once; ONNX Runtime's CPU cannot run these graphs."""
    workspace = workspace_of(name)
    base = _export(workspace, exporter, torch.bfloat16)

    merged = one_step(workspace.adapter(), base, tmp_path)

    weights = build_base(workspace.case).bfloat16().state_dict()
    for target, delta in deltas(workspace).items():
        weight = weights[f"{target}.weight"].double().numpy()
        weight = weight.T if name.startswith("gpt2") else weight  # Conv1D stores [in, out]
        _assert_rounded_once(weight + delta, merged)


def _assert_rounded_once(exact: NDArray[np.float64], merged: Path) -> None:
    """No bfloat16 value is nearer to the float64 sum than the one that is stored.

    Two float64 transforms differ by some 1e-15 of the largest value, which only decides a tie.
    """
    found = nearest_stored(merged, exact)
    assert found.dtype == ml_dtypes.bfloat16
    slack = 1e-13 * np.abs(exact).max()
    distance = np.abs(found.astype(np.float64) - exact)
    for direction in (-np.inf, np.inf):
        neighbour = np.nextafter(found, np.asarray(direction, found.dtype)).astype(np.float64)
        wrong = distance > np.abs(neighbour - exact) + slack
        assert not wrong.any(), f"{wrong.sum()} of {wrong.size} weights are not the nearest"
