"""The rewritten graphs: each opens, computes what the base does, and holds what it is there for.

Should a tool's new version no longer fuse or quantise, then what is tested with its graphs proves
nothing any more; it shows here.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch

from tests.real.checks import figures, run_onnx, worst
from tests.real.dequantised import layer_outputs, layer_weight
from tests.real.exports import wrapped
from tests.real.samples import SAMPLES, Sample
from tests.real.workspace import Workspace, WorkspaceOf, build_base, outputs
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", SAMPLES)
def test_rewritten_graph_computes_what_the_base_does(name: str, workspace_of: WorkspaceOf) -> None:
    """Rounding aside, which is as coarse as the format."""
    sample, workspace = _sample(name, workspace_of)
    reference = workspace.reference("wrapped")

    error = worst(reference.base, run_onnx(_path(sample, workspace), reference.inputs))

    figures.info("off by %.1e", error)
    assert error <= sample.near


@pytest.mark.parametrize("name", SAMPLES)
def test_rewritten_graph_holds_its_operators(name: str, workspace_of: WorkspaceOf) -> None:
    """The tool has found the patterns that the sample stands for."""
    sample, workspace = _sample(name, workspace_of)

    found = Counter(node.op_type for node in onnx.load(_path(sample, workspace)).graph.node)

    assert {name: found[name] for name in sample.operators} == {
        name: max(count, found[name]) for name, count in sample.operators.items()
    }


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.exact])
def test_torch_with_the_rounded_weights_computes_the_same(
    name: str, workspace_of: WorkspaceOf
) -> None:
    """The weights that the graph answers with are all that the tool has changed."""
    sample, workspace = _sample(name, workspace_of)
    path = _path(sample, workspace)
    reference = workspace.reference("wrapped")
    model = build_base(workspace.case)
    for module, output in layer_outputs(workspace.onnx(sample.how)).items():
        weight = model.get_submodule(module).weight
        weight.data = torch.from_numpy(layer_weight(path, output, weight.shape[1]))
    inputs = {key: torch.from_numpy(value) for key, value in reference.inputs.items()}

    expected = outputs(wrapped(model, "wrapped"), inputs)

    error = worst(expected, run_onnx(path, reference.inputs))
    figures.info("off by %.1e", error)
    assert error <= ONNX_OUTPUT_F32


def _sample(name: str, workspace_of: WorkspaceOf) -> tuple[Sample, Workspace]:
    sample = SAMPLES[name]
    return sample, workspace_of(sample.case)


def _path(sample: Sample, workspace: Workspace) -> Path:
    return workspace.rewritten(sample.how, sample.tools)
