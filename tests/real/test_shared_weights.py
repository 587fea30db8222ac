"""Weights with several readers: each use gets its own target's delta, and nobody else's."""

from collections import Counter
from pathlib import Path

import onnx
import pytest

from tests.real.cases import SHARED_CASES
from tests.real.checks import assert_equals_peft
from tests.real.exports import EXPORTERS, Export, Exporter
from tests.real.routes import one_step, two_steps
from tests.real.workspace import WorkspaceOf

pytestmark = pytest.mark.real
_NAMES = [case.name for case in SHARED_CASES]


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _NAMES)
def test_two_steps_equal_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The fingerprints of equal weights are equal: other evidence must tell the uses apart."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", _NAMES)
def test_one_step_equals_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The same from the graph alone."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))

    merged = one_step(workspace.adapter(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ["gpt2-tied-lm-head", "albert-one-target-many-uses"])
def test_unfolded_exports_equal_peft(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Only without constant folding do lm_head and the embedding read one initializer."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap, folding=False))

    merged = one_step(workspace.adapter(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_embedding_really_is_the_head(exporter: Exporter, workspace_of: WorkspaceOf) -> None:
    """The unfolded fixture: one matrix of (vocabulary, width), two readers."""
    path = workspace_of("gpt2-tied-lm-head").onnx(Export(exporter=exporter, folding=False))

    graph = onnx.load(path).graph

    tables = [tensor.name for tensor in graph.initializer if tuple(tensor.dims) == (97, 60)]
    assert len(tables) == 1
    assert sum(tables[0] in node.input for node in graph.node) == 2


@pytest.mark.parametrize(
    ("name", "exporter"),
    [
        ("albert-one-target-many-uses", "torchscript"),
        ("bert-identical-layers", "torchscript"),
        ("bert-one-of-identical-layers", "torchscript"),
        ("bert-narrow-identical-layers", "dynamo"),
        ("bert-narrow-identical-layers", "torchscript"),
    ],
)
def test_the_exporter_really_shares_weights(
    name: str, exporter: Exporter, workspace_of: WorkspaceOf
) -> None:
    """The fixtures hold what their names say: three layers read one initializer."""
    workspace = workspace_of(name)

    graph = onnx.load(workspace.onnx(Export(exporter=exporter, wrap=workspace.case.wrap))).graph

    uses = Counter(name for node in graph.node for name in node.input)
    shared = [tensor for tensor in graph.initializer if uses[tensor.name] == 3]
    assert sum(len(tensor.dims) == 2 for tensor in shared) >= 4
