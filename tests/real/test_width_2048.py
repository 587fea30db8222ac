"""Width 2048, held to float64: torch's own inverse FFT is wrong there on two threads.

So PEFT itself is no reference here; its checkpoint is, with the formula in NumPy.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.real.cases import example_inputs
from tests.real.checks import assert_equals_peft, compare, deltas, figures, nearest_stored
from tests.real.exports import Export, Exporter, wrapped
from tests.real.routes import two_steps
from tests.real.workspace import Reference, Workspace, WorkspaceOf, build_base, outputs
from tests.tolerances import DELTA_F32

pytestmark = pytest.mark.real


def _exact_reference(workspace: Workspace) -> Reference:
    """Run torch with base + delta as its weights, the delta from float64."""
    model = build_base(workspace.case)
    inputs = example_inputs(model)
    base = outputs(wrapped(model, "wrapped"), inputs)
    for target, delta in deltas(workspace).items():
        weight = model.get_submodule(target).weight
        weight.data.copy_(torch.from_numpy(weight.data.double().numpy() + delta))
    adapted = outputs(wrapped(model, "wrapped"), inputs)
    arrays = {key: value.numpy() for key, value in inputs.items()}
    return Reference(inputs=arrays, base=base, adapted=adapted)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_weights_and_outputs_equal_float64(
    exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The square q_proj and o_proj, where torch fails, and the flat v_proj, where it does not."""
    workspace = workspace_of("llama-width-2048")
    how = Export(exporter=exporter, external=exporter == "dynamo")
    base = workspace.onnx(how)

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    model = build_base(workspace.case)
    for target, delta in deltas(workspace).items():
        weight = model.get_submodule(target).weight.data.double().numpy()
        stored = nearest_stored(merged, weight + delta).astype(np.float64)
        error = compare(delta, stored - weight)
        figures.info("%s %s: delta %.1e", target, delta.shape, error)
        assert error <= DELTA_F32
    assert_equals_peft(_exact_reference(workspace), base, merged)
