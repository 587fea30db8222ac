"""fourier-convert in a process of its own, to be limited, interrupted and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

_LIMITED = """
import resource, signal, sys
from fourier_converters.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""

_STOPPING = """
import os, signal, sys, threading
from fourier_converters.cli import main
name, real = sys.argv[1], getattr(os, sys.argv[1])
def stopping(*arguments):
    setattr(os, name, real)
    HALT
    return real(*arguments)
setattr(os, name, stopping)
sys.exit(main(sys.argv[2:]))
"""

_HALT_PROCESS = "os.kill(os.getpid(), signal.SIGSTOP)"
_HALT_THREAD = "signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)"
"""Before this very thread goes on; the process may be halted a moment later."""

_WAIT = 60.0


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run fourier-convert to its end."""
    return _run("-m", "fourier_converters.cli", *arguments)


def run_on_a_full_disk(room: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run fourier-convert where no file can grow beyond `room` bytes."""
    return _run("-c", _LIMITED, str(room), *arguments)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start fourier-convert and return at once."""
    return _start("-m", "fourier_converters.cli", *arguments)


def start_and_stop_at(
    function: str, *arguments: str | Path, at_once: bool = False
) -> subprocess.Popen[str]:
    """Start fourier-convert; return when it is about to call this function of `os`, and halted.

    With `at_once` the thread that calls is halted before it does.
    """
    halt = _HALT_THREAD if at_once else _HALT_PROCESS
    process = _start("-c", _STOPPING.replace("HALT", halt), function, *arguments)
    seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert seen is not None
    assert seen.si_code == os.CLD_STOPPED, process.communicate()
    return process


def go_on(process: subprocess.Popen[str], signal_first: signal.Signals) -> None:
    """Let a halted process go on, to meet a signal first."""
    process.send_signal(signal_first)
    process.send_signal(signal.SIGCONT)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the process; returns its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=_WAIT)
    return process.returncode, out, err


def _start(*command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_WAIT,
    )
