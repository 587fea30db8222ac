"""The main job: a PEFT checkpoint and an exported base become an ONNX model equal to PEFT's."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.real.cases import (
    HALF_COEFFICIENT_CASES,
    IMAGE_CASES,
    MINILM_CASES,
    PLAIN_CASES,
    example_inputs,
)
from tests.real.checks import assert_equals_peft
from tests.real.exports import EXPORTERS, Export, Exporter, Wrap
from tests.real.routes import one_step, two_steps
from tests.real.workspace import Reference, WorkspaceOf, build_base, load_adapted, outputs

pytestmark = pytest.mark.real
_NAMES = [case.name for case in (*MINILM_CASES, *PLAIN_CASES, *HALF_COEFFICIENT_CASES)]
_FEW = ["minilm-query-value", "gpt2-conv1d", "llama-grouped-queries", "roberta-trained-head"]
_UNFOLDED = ["minilm-query-value", "gpt2-conv1d", "llama-grouped-queries", "bert-all-biases"]


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _NAMES)
def test_two_steps_equal_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Checkpoint and safetensors base -> .fft; .fft and ONNX base -> merged ONNX."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", [*_FEW, "bert-modules-to-save", "bert-all-biases"])
def test_one_step_equals_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Checkpoint and ONNX base -> merged ONNX, with no other form of the base at hand."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    merged = one_step(workspace.adapter(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _FEW)
def test_the_onnx_base_serves_both_steps(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The ONNX base gives the .fft its shapes and fingerprints too."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    merged = two_steps(workspace.adapter(), base, base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _FEW)
def test_one_file_serves_the_exports_of_both_exporters_and_wrappers(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """A .fft made against one export merges into any other: names differ, weights do not."""
    workspace = workspace_of(name)
    first = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))
    other: Exporter = "torchscript" if exporter == "dynamo" else "dynamo"
    wrap: Wrap = "bare" if workspace.case.wrap == "wrapped" else "wrapped"
    second = workspace.onnx(Export(exporter=other, wrap=wrap))

    merged = two_steps(workspace.adapter(), first, second, tmp_path)

    assert_equals_peft(workspace.reference(wrap), second, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _UNFOLDED)
def test_export_without_constant_folding_equals_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Unfolded graphs keep torch's names and orientation, behind Transpose nodes."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap, folding=False))

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("name", ["gpt2-conv1d", "llama-grouped-queries"])
def test_sharded_base_equals_peft(name: str, workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """Large bases come as several safetensors files with an index."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter="dynamo", wrap=workspace.case.wrap))

    merged = two_steps(workspace.adapter(), workspace.sharded(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_dynamic_axes_stay_dynamic(
    exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The merged model takes batches and lengths that the export never saw."""
    workspace = workspace_of("minilm-query-value")
    base = workspace.onnx(Export(exporter=exporter, dynamic=True))

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    model = build_base(workspace.case)
    inputs = example_inputs(model, rows=2, tokens=17)
    reference = Reference(
        inputs={key: value.numpy() for key, value in inputs.items()},
        base=outputs(model, inputs),
        adapted=outputs(load_adapted(workspace.case, workspace.adapter()), inputs),
    )
    assert_equals_peft(reference, base, merged)


@pytest.mark.parametrize("name", [case.name for case in HALF_COEFFICIENT_CASES])
def test_coefficients_were_saved_in_half_precision(name: str, workspace_of: WorkspaceOf) -> None:
    """What these two cases stand for: PEFT does save below float32 when told to."""
    workspace = workspace_of(name)

    saved = load_file(workspace.adapter() / "adapter_model.safetensors")

    assert {tensor.dtype for tensor in saved.values()} == {workspace.case.adapter_dtype}
    assert workspace.case.adapter_dtype in (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", [case.name for case in IMAGE_CASES])
def test_image_models_equal_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The graph is the base of both steps: the checkpoint has other names than the adapter."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter))

    merged = two_steps(workspace.adapter(), base, base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)
