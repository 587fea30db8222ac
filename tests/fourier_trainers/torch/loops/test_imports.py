from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import fourier_trainers.torch
from fourier_format.errors import DependencyMissingError

assert not {"transformers", "lightning", "accelerate"} & sys.modules.keys()
for module, package in (("huggingface", "transformers"), ("lightning", "lightning")):
    sys.modules[package] = None
    try:
        __import__(f"fourier_trainers.torch.{module}")
    except DependencyMissingError as error:
        print(error)
"""


def test_trainers_are_imported_only_where_they_are_asked_for_and_else_named_in_the_error() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    first, second = done.stdout.splitlines()
    assert "pip install transformers accelerate [E-DEPENDENCY-MISSING]" in first
    assert "pip install lightning [E-DEPENDENCY-MISSING]" in second
