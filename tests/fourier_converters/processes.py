"""fourier-convert in a process of its own, to be limited, interrupted and killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIMITED = """
import resource, signal, sys
from fourier_converters.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""

_WAIT = 20.0


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run fourier-convert to its end."""
    return _run("-m", "fourier_converters.cli", *arguments)


def run_on_a_full_disk(room: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run fourier-convert where no file can grow beyond `room` bytes."""
    return _run("-c", _LIMITED, str(room), *arguments)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start fourier-convert and return at once."""
    command = [sys.executable, "-m", "fourier_converters.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def start_until(seen: Callable[[], bool], *arguments: str | Path) -> subprocess.Popen[str]:
    """Start fourier-convert and return when `seen` holds, while the command still runs."""
    process = start(*arguments)
    deadline = time.monotonic() + _WAIT
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the process; returns its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=_WAIT)
    return process.returncode, out, err


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_WAIT,
    )
