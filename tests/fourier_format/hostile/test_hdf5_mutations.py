"""Broken .fft.h5 files are refused or unharmed; what crashes inside libhdf5 is counted.

libhdf5 is a large C library and not made for hostile files (SECURITY.md). A crash or an endless
loop in it is not ours to mend; an exception of another kind, or content accepted that is not the
content written, is.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from fourier_format.containers import hdf5
from tests.fourier_format.hostile.hdf5_child import documents

ROOT = Path(__file__).parents[3]
CRASH = "libhdf5 crashed"
TOLERATED_SHARE = 0.02

Job = dict[str, str | int]


def child() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fourier_format.hostile.hdf5_child"],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def outcomes(jobs: Iterable[Job]) -> collections.Counter[str]:
    """Return how often each answer came; a child that dies is replaced by a new one."""
    found: collections.Counter[str] = collections.Counter()
    process = child()
    for job in jobs:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if line:
            found[json.loads(line)] += 1
            continue
        process.communicate(timeout=30)
        assert process.returncode < 0, "the child ended without a signal"
        found[CRASH] += 1
        process = child()
    process.communicate(timeout=30)
    return found


def check(found: collections.Counter[str]) -> None:
    wrong = set(found) - {"refused", "same", CRASH}
    assert not wrong, found
    assert found["refused"] > found["same"]
    assert found[CRASH] <= TOLERATED_SHARE * found.total(), found


@pytest.mark.parametrize("part", range(2))
def test_broken_files_are_refused_or_unharmed(part: int) -> None:
    check(outcomes({"kind": "random", "number": n} for n in range(part * 1000, part * 1000 + 1000)))


@pytest.mark.slow
def test_every_flipped_bit_is_detected_or_harms_nothing() -> None:
    size = len(hdf5.encode(documents()[0]))

    found = outcomes({"kind": "flip", "number": bit} for bit in range(size * 8))

    wrong = set(found) - {"refused", "same", CRASH}
    assert not wrong, found
    assert found[CRASH] <= TOLERATED_SHARE * found.total(), found
