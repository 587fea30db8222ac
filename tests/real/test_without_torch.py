"""Converting needs neither torch nor peft nor transformers."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.checks import assert_equals_peft
from tests.real.exports import Export
from tests.real.workspace import WorkspaceOf

pytestmark = pytest.mark.real

# None in sys.modules makes an import fail as if the package were not there.
_WITHOUT = """
import sys
for name in ("torch", "peft", "transformers", "onnxruntime", "tensorflow", "keras"):
    sys.modules[name] = None
from fourier_converters.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _convert(*arguments: str | Path) -> None:
    command = [sys.executable, "-c", _WITHOUT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_both_routes_run_without_any_framework(workspace_of: WorkspaceOf, tmp_path: Path) -> None:
    """NumPy, onnx and this package are all that is on the machine that serves."""
    workspace = workspace_of("bert-modules-to-save")
    base = workspace.onnx(Export(exporter="dynamo"))
    fft, two, one = (tmp_path / name for name in ("adapter.fft", "two.onnx", "one.onnx"))

    _convert(workspace.adapter(), "--to", "fft", "--base", workspace.safetensors(), "-o", fft)
    _convert(fft, "--to", "onnx", "--base", base, "-o", two)
    _convert(workspace.adapter(), "--to", "onnx", "--base", base, "-o", one)

    for merged in (two, one):
        assert_equals_peft(workspace.reference(), base, merged)
