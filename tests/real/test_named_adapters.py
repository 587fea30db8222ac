"""Several adapters in one checkpoint folder: PEFT puts named ones into subfolders."""

from pathlib import Path

import pytest

from fourier_converters.cli import main
from tests.real.checks import assert_equals_peft
from tests.real.exports import Export
from tests.real.routes import one_step, two_steps
from tests.real.workspace import WorkspaceOf

pytestmark = pytest.mark.real
_HOW = Export(exporter="dynamo")


@pytest.mark.parametrize("adapter", ["formal", "casual"])
def test_one_step_takes_the_named_adapter(
    adapter: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """``--adapter`` chooses among the subfolders."""
    workspace = workspace_of("bert-named-adapters")
    base = workspace.onnx(_HOW)

    merged = one_step(workspace.adapters(), base, tmp_path, "--adapter", adapter)

    assert_equals_peft(workspace.reference(name=adapter), base, merged)


@pytest.mark.parametrize("adapter", ["formal", "casual"])
def test_two_steps_take_the_named_adapter(
    adapter: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """The choice is made once, where the .fft is written."""
    workspace = workspace_of("bert-named-adapters")
    base = workspace.onnx(_HOW)

    merged = two_steps(
        workspace.adapters(), workspace.safetensors(), base, tmp_path, "--adapter", adapter
    )

    assert_equals_peft(workspace.reference(name=adapter), base, merged)


def test_a_subfolder_is_a_checkpoint_of_its_own(workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """Without ``--adapter``, the path of the subfolder does."""
    workspace = workspace_of("bert-named-adapters")
    base = workspace.onnx(_HOW)

    merged = one_step(workspace.adapter("casual"), base, tmp_path)

    assert_equals_peft(workspace.reference(name="casual"), base, merged)


@pytest.mark.parametrize("options", [(), ("--adapter", "absent")])
def test_no_adapter_is_guessed(
    options: tuple[str, ...],
    workspace_of: WorkspaceOf,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two named adapters and no choice, or a wrong one: an error that names both."""
    workspace = workspace_of("bert-named-adapters")
    merged = tmp_path / "merged.onnx"
    paths = [workspace.adapters(), "--to", "onnx", "--base", workspace.onnx(_HOW), "-o", merged]

    code = main([*map(str, paths), *options])

    errors = capsys.readouterr().err
    assert code != 0
    assert not merged.exists()
    assert "formal" in errors
    assert "casual" in errors


def test_the_default_adapter_is_taken_beside_a_named_one(
    workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """PEFT's "default" lies in the folder itself and is what the folder means."""
    workspace = workspace_of("bert-default-and-named")
    base = workspace.onnx(_HOW)

    merged = one_step(workspace.adapters(), base, tmp_path)

    assert_equals_peft(workspace.reference(), base, merged)


def test_the_named_adapter_is_found_beside_the_default(
    workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """A default in the folder does not hide the subfolder."""
    workspace = workspace_of("bert-default-and-named")
    base = workspace.onnx(_HOW)

    merged = one_step(workspace.adapters(), base, tmp_path, "--adapter", "casual")

    assert_equals_peft(workspace.reference(name="casual"), base, merged)
