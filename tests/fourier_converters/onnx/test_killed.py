"""A hundred runs killed at random moments: a whole model or none, and the next run tidies up."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import digests, run
from tests.fourier_converters.onnx.test_interruptions import WHOLE, Place, W
from tests.fourier_converters.processes import end, start, start_and_stop_at
from tests.fourier_converters.processes import run as run_process

LARGE = 2**26
"""Bytes of the base's data: copying and syncing them takes a good part of the run."""
KILLS = 25
REFERENCE = ("--external-data", "reference")


class Killed:
    """Runs that are killed, and what must be true after each."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.place = Place(folder, LARGE)
        self.mode = [] if mode == "copy" else list(REFERENCE)
        if self.mode:
            self.place.output = self.place.inputs / "m.onnx"
        self.inputs = set(self.place.before)

    @property
    def left(self) -> set[str]:
        """What lies where the result is going to be, besides the inputs."""
        return {p.name for p in self.place.output.parent.iterdir()} - self.inputs

    def assert_whole_or_absent(self) -> bool:
        after = digests(self.place.inputs)
        assert self.place.before.items() <= after.items()
        if not self.place.output.exists():
            return False
        y, z = run(self.place.output, x=np.eye(64, dtype=np.float32))
        assert np.allclose(y.T, W + delta(WHOLE, "one"), atol=2e-6)
        assert np.array_equal(z.T, W)
        return True

    def assert_the_next_run_tidies_up(self) -> None:
        done = run_process(*self.place.arguments("--quiet", "--force", *self.mode))
        assert done.returncode == 0, done.stderr
        assert self.assert_whole_or_absent()
        (data,) = self.left - {"m.onnx"}
        assert data.encode() in self.place.output.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["copy", "reference"])
@pytest.mark.parametrize("part", range(2))
def test_a_run_that_is_killed_at_any_moment_leaves_a_whole_model_or_none(
    mode: str, part: int, tmp_path: Path
) -> None:
    rng = random.Random(part)
    killed = Killed(tmp_path, mode)
    begun = finished = 0
    for number in range(KILLS):
        force = ("--force",) if killed.place.output.exists() else ()
        arguments = killed.place.arguments("--quiet", *force, *killed.mode)
        process = _started_writing(arguments, killed, rng)
        process.send_signal(signal.SIGKILL)
        code, _, error = end(process)
        assert code in {0, -signal.SIGKILL}, error
        begun += bool(killed.left)
        finished += killed.assert_whole_or_absent()
        if number % 8 == 7:
            killed.assert_the_next_run_tidies_up()
            killed.place.output.unlink()
    killed.assert_the_next_run_tidies_up()
    assert begun  # the moments are not all before anything is written


def _started_writing(arguments, killed, rng):  # type: ignore[no-untyped-def]
    raise NotImplementedError
