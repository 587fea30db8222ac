"""What is expensive to import is imported where it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.architecture.source import ROOT

EXPENSIVE = {
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "peft",
    "transformers",
    "onnx",
    "onnxruntime",
    "h5py",
    "jsonschema",
    "scipy",
    "matplotlib",
    "safetensors",
}


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "statement",
    [
        "import fourier_format",
        "import fourier_format.cli",
        "import fourier_format.diagnostics",
        "import fourier_format.errors",
        "import fourier_format.sampling",
        "import fourier_format.transforms.dft2",
        "import fourier_format.transforms.dwt2",
    ],
)
def test_importing_loads_nothing_expensive(statement: str) -> None:
    assert loaded_after(statement) & EXPENSIVE == set()


def test_loading_and_saving_a_file_loads_nothing_expensive() -> None:
    statement = (
        "import fourier_format\n"
        "from tests.fourier_format import minimal\n"
        "fourier_format.from_bytes(fourier_format.to_bytes(minimal.adapter()))"
    )

    assert loaded_after(statement) & EXPENSIVE == set()


def test_this_test_sees_what_is_loaded() -> None:
    statement = "from fourier_format.transforms import dft2; import scipy.fft"

    assert loaded_after(statement) & EXPENSIVE == {"scipy"}
