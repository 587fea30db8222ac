"""The published int8 MiniLM: what it is, before anything is merged into it."""

from collections import Counter

import onnx
import pytest

from tests.real.checks import compare, figures, run_onnx
from tests.real.dequantised import table
from tests.real.published import MODEL, inputs, layer_outputs
from tests.real.rounded import rounded_reference, rounded_weights
from tests.real.workspace import WorkspaceOf, build_base
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_CASE = "minilm-query-value"


def test_weights_are_behind_cast_and_mul() -> None:
    """36 layers and two tables, stored as int8, and read by MatMul and Gather as floats."""
    graph = onnx.load(MODEL).graph
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type == 3}  # int8

    readers = Counter(n.op_type for n in graph.node if stored.intersection(n.input))

    assert readers == {"Cast": 38}


def test_torch_with_its_weights_computes_the_same(workspace_of: WorkspaceOf) -> None:
    """Rounded tables included, it is MiniLM: its one output is the last hidden state."""
    workspace = workspace_of(_CASE)
    base = build_base(workspace.case)
    weights = rounded_weights(workspace, layer_outputs(), MODEL)
    for name, output in (("word", "embedding"), ("position", "embedding_2")):
        module = f"embeddings.{name}_embeddings"
        rows = base.get_submodule(module).num_embeddings
        weights[module] = base.get_submodule(module).weight.new_tensor(table(MODEL, output, rows))

    reference = rounded_reference(workspace, weights)

    (got,) = run_onnx(MODEL, inputs(reference.inputs))
    figures.info("off by %.1e", compare(reference.base[0], got))
    assert len(weights) == 38
    assert compare(reference.base[0], got) <= ONNX_OUTPUT_F32
    assert compare(reference.adapted[0], got) > 0.05
