"""A hundred runs killed at random moments: a whole model or none, and the next run tidies up."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import digests, run
from tests.fourier_converters.onnx.test_interruptions import WHOLE, Place, W
from tests.fourier_converters.processes import end, start
from tests.fourier_converters.processes import run as run_process

LARGE = 2**24
"""Bytes of the base's data, so that copying and syncing them takes its time."""
KILLS = 25
LONGEST_WAIT = 30.0
REFERENCE = ("--external-data", "reference")


class Killed:
    """Runs that are killed, and what must be true after each."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.place = Place(folder, LARGE)
        self.mode = [] if mode == "copy" else list(REFERENCE)
        if self.mode:
            self.place.output = self.place.inputs / "m.onnx"
        self.inputs = set(self.place.before)
        self.window = 0.1 if mode == "copy" else 0.02
        """Seconds from the first file to the commit, about: a moment after it is as good."""

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

    def clear(self) -> None:
        for name in self.left:
            (self.place.output.parent / name).unlink()

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
    stopped = 0
    for number in range(KILLS):
        force = ("--force",) if killed.place.output.exists() else ()
        arguments = killed.place.arguments("--quiet", *force, *killed.mode)
        code = _kill_while_writing(start(*arguments), killed, rng)
        stopped += code == -signal.SIGKILL
        killed.assert_whole_or_absent()
        if number % 6 == 5:
            killed.assert_the_next_run_tidies_up()
            if number % 12 == 5:  # the next six runs find no model, the six after them one
                killed.clear()
    killed.assert_the_next_run_tidies_up()
    assert stopped  # the moments are not all too late


def _kill_while_writing(process: subprocess.Popen[str], killed: Killed, rng: random.Random) -> int:
    """Kill the process a moment after its first file is there; returns its exit code."""
    before, deadline = killed.left, time.monotonic() + LONGEST_WAIT
    while killed.left == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, killed.window))
    process.kill()
    code, _, error = end(process)
    assert code in {0, -signal.SIGKILL}, error
    return code
