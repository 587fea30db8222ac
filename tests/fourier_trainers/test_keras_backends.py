"""The suite of the Keras trainer, once more on the backends that are not this process's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = "tests/fourier_trainers/keras"
ALL_BACKENDS = f"--ignore={SUITE}/exporting"  # those start a process for each themselves


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_whole_suite_passes_on(backend: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SUITE, ALL_BACKENDS]

    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
