"""Ten thousand broken .fft files are refused with a code, in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FILES = 10_000
PROCESSES = 4  # so that pytest-xdist can share them out

EXPECTED_CODES = {
    "E-CONTAINER-TRUNCATED",
    "E-CONTAINER-HEADER",
    "E-CONTAINER-OFFSETS",
    "E-CONTAINER-DTYPE",
    "E-NOT-FOURIER-FORMAT",
    "E-JSON-SYNTAX",
    "E-JSON-NUMBER",
    "E-JSON-DEPTH",
    "E-DIGEST",
    "E-FIELD-TYPE",
    "E-FIELD-VALUE",
    "E-FIELD-MISSING",
    "E-FIELD-UNKNOWN",
    "E-TENSOR-MISSING",
    "E-TENSOR-UNDECLARED",
    "E-TENSOR-SHAPE",
    "E-TENSOR-DTYPE",
    "E-ENTRY-RANGE",
    "E-NUMBER-NONFINITE",
}
"""The mutations reach every layer; if one of these is not met, they do not any more."""


def read_in_child(first: int, last: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fourier_format.hostile.fft_child", str(first), str(last)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("part", range(PROCESSES))
def test_broken_files_are_refused_with_a_code_or_are_valid(part: int) -> None:
    size = FILES // PROCESSES

    found = read_in_child(part * size, (part + 1) * size)

    assert found["wrong"] == []
    codes = {code.strip("[]") for code in found["codes"]}
    assert codes >= EXPECTED_CODES
    assert found["codes"]["valid"] > 100  # a changed note or a changed coefficient is no fault
