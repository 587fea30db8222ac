"""The rewritten graphs: each opens, computes what the base does, and holds what it is there for.

Should a tool's new version no longer fuse or quantise, then what is tested with its graphs proves
nothing any more; it shows here.
"""

from collections import Counter
from pathlib import Path

import onnx
import pytest

from tests.real.checks import compare, figures, run_onnx, worst
from tests.real.dequantised import layer_outputs
from tests.real.rounded import rounded_reference, rounded_weights
from tests.real.samples import QUANTISED, SAMPLES, Sample
from tests.real.workspace import Workspace, WorkspaceOf, build_base
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_INT8 = [
    sample.name
    for sample in QUANTISED
    if sample.case != "gpt2-conv1d"  # Conv1D: rounded_weights knows Linear only
    and sample.tools[0] in {"dynamic", "dynamic-per-channel", "qdq", "qdq-per-channel"}
    and len(sample.tools) == 1
]


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
    weights = rounded_weights(workspace, layer_outputs(workspace.onnx(sample.how)), path)

    reference = rounded_reference(workspace, weights)

    error = worst(reference.base, run_onnx(path, reference.inputs))
    figures.info("off by %.1e", error)
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize("name", _INT8)
def test_int8_layers_answer_with_the_bases_weights(name: str, workspace_of: WorkspaceOf) -> None:
    """Where activations are rounded too, the weights are right to half a step of 1/127."""
    sample, workspace = _sample(name, workspace_of)
    base = build_base(workspace.case)
    written = layer_outputs(workspace.onnx(sample.how))

    weights = rounded_weights(workspace, written, _path(sample, workspace))

    assert len(weights) >= 13
    for module, weight in weights.items():
        expected = base.get_submodule(module).weight.detach()
        assert compare(expected.numpy(), weight.numpy()) <= 0.51 / 127


def _sample(name: str, workspace_of: WorkspaceOf) -> tuple[Sample, Workspace]:
    sample = SAMPLES[name]
    return sample, workspace_of(sample.case)


def _path(sample: Sample, workspace: Workspace) -> Path:
    return workspace.rewritten(sample.how, sample.tools)
