"""Thousands of broken copies of a real .onnx with external data: our errors, or a merge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = 4_000
PROCESSES = 4  # so that pytest-xdist can share them out
EXPECTED = {"[E-BASE-UNSUPPORTED]", "[E-TARGET-NOT-FOUND]", "[E-IO]", "merged"}
"""If one of these is not met, the mutations do not reach every layer any more."""


@pytest.mark.parametrize("part", range(PROCESSES))
def test_broken_models_are_refused_in_our_words_or_merged(part: int, tmp_path: Path) -> None:
    size = FILES // PROCESSES
    bounds = (str(part * size), str((part + 1) * size))

    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.mutant_child", str(tmp_path), *bounds],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["wrong"] == []
    assert answer["found"].keys() >= EXPECTED
