"""Bases whose weights lie in a second file: the merged model is whole, the base untouched."""

import hashlib
from pathlib import Path

import onnx
import pytest

from tests.real.checks import assert_equals_peft
from tests.real.exports import Export
from tests.real.routes import one_step, two_steps
from tests.real.workspace import WorkspaceOf

pytestmark = pytest.mark.real
_NAMES = ["minilm-query-value", "llama-grouped-queries", "gpt2-tied-lm-head"]


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("name", _NAMES)
def test_two_steps_equal_peft(name: str, workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """Dynamo writes external data unless told otherwise: this is what most people have."""
    workspace = workspace_of(name)
    base = workspace.onnx(Export(exporter="dynamo", wrap=workspace.case.wrap, external=True))
    assert base.with_name("model.onnx.data").exists()

    merged = two_steps(workspace.adapter(), workspace.safetensors(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


def test_one_step_leaves_the_base_as_it_was(workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """No byte of the base's two files changes, and no file joins them."""
    workspace = workspace_of("minilm-query-value")
    base = workspace.onnx(Export(exporter="dynamo", wrap="wrapped", external=True))
    before = _digests(base.parent)

    merged = one_step(workspace.adapter(), base, tmp_path)

    assert _digests(base.parent) == before
    assert_equals_peft(workspace.reference(), base, merged)


def test_merged_model_passes_the_onnx_checker(workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """Shapes, types and the paths of external data, all checked by onnx itself."""
    workspace = workspace_of("llama-grouped-queries")
    base = workspace.onnx(Export(exporter="dynamo", wrap="bare", external=True))

    merged = one_step(workspace.adapter(), base, tmp_path)

    onnx.checker.check_model(merged, full_check=True)


def test_merged_model_can_be_moved(workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """What the command wrote is all that the merged model needs."""
    workspace = workspace_of("llama-grouped-queries")
    base = workspace.onnx(Export(exporter="dynamo", wrap="bare", external=True))
    written = tmp_path / "written"
    written.mkdir()

    merged = one_step(workspace.adapter(), base, written)
    moved = written.rename(tmp_path / "moved") / merged.name

    assert_equals_peft(workspace.reference(), base, moved)
