"""What the benchmarks share: children's time and memory, interleaved runs, facts of the machine.

It imports nothing heavy. The kernel counts a parent's memory at the moment of the fork towards its
child's peak, so that a script which times children must stay small until they are done.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

HERE = Path(__file__).resolve().parent
_LOAD_BEFORE = os.getloadavg()  # afterwards it holds our own work
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Json = dict[str, Any]
Result = TypeVar("Result")


class Run(NamedTuple):
    """One finished child process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    stdout: str

    def json(self) -> Json:
        """What the child printed, which must be one JSON object."""
        value: Json = json.loads(self.stdout)
        return value


def child(command: Sequence[str | Path]) -> Run:
    """Run `command` to its end; time is wall time, memory the kernel's ru_maxrss of that child.

    Raises:
        RuntimeError: It failed; the message holds the end of its stderr.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # a hub that does not answer costs seconds
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=err, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            text = err.read().decode(errors="replace")[-4000:]
            raise RuntimeError(f"{command} ended with {process.returncode}:\n{text}")
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return Run(seconds, cpu_seconds, usage.ru_maxrss / 1024, out.read().decode())


def script(name: str, *arguments: str | Path) -> list[str | Path]:
    """The command of a Python script that lies beside this file."""
    return [sys.executable, HERE / name, *arguments]


def interleaved(
    jobs: Mapping[str, Callable[[], Result]], runs: int, warmups: int = 1
) -> dict[str, list[Result]]:
    """Run the jobs in turn, A B A B, so that drift of the machine's speed meets all of them.

    What a job leaves unwritten or uncollected is dealt with before the next one starts: ours syncs
    its output and the peers do not, so that ours would wait for the disk to take theirs.
    """
    results: dict[str, list[Result]] = {name: [] for name in jobs}
    for number in range(-warmups, runs):
        progress(f"run {number + 1} of {runs}" if number >= 0 else "warm-up")
        for name, job in jobs.items():
            gc.collect()
            os.sync()
            result = job()
            if number >= 0:
                results[name].append(result)
    return results


class Call(NamedTuple):
    """The time that one call took."""

    seconds: float
    cpu_seconds: float


def timed(job: Callable[[], object]) -> Call:
    """Call `job`; processor time is that of all threads."""
    start, cpu_start = time.perf_counter(), time.process_time()
    job()
    return Call(time.perf_counter() - start, time.process_time() - cpu_start)


def peak_mib() -> float:
    """The peak memory of this process so far, VmHWM."""
    return _status_mib("VmHWM")


def resident_mib() -> float:
    """The memory of this process now, VmRSS."""
    return _status_mib("VmRSS")


def settled_mib() -> float:
    """The memory of this process, after which the peak counts from here: what was is over.

    Writing 5 to clear_refs sets the kernel's VmHWM to the resident size; before that, the
    allocator gives back what it keeps of what it took to get here.
    """
    gc.collect()
    with suppress(AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident_mib()


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def spread(values: Iterable[float]) -> Json:
    """Median, minimum, maximum and count."""
    listed = list(values)
    return {
        "median": rounded(statistics.median(listed)),
        "min": rounded(min(listed)),
        "max": rounded(max(listed)),
        "runs": len(listed),
    }


def of_runs(runs: Sequence[Run]) -> Json:
    """Wall and processor seconds, and peak memory, of finished children."""
    return {
        "seconds": spread(run.seconds for run in runs),
        "cpu_seconds": spread(run.cpu_seconds for run in runs),
        "peak_mib": spread(run.peak_mib for run in runs),
    }


def ratios(peer: Sequence[float], ours: Sequence[float], aim: float | None = None) -> Json:
    """The peer's figure over ours, pair by pair, beside what the median is to be at least."""
    result = spread(theirs / own for theirs, own in zip(peer, ours, strict=True))
    if aim is not None:
        result |= {"aim": aim, "aim_met": result["median"] >= aim}
    return result


def at_most(reached: float, aim: float) -> Json:
    """A figure that must not be above its aim."""
    return {"reached": rounded(reached), "aim": aim, "aim_met": reached <= aim}


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def progress(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def finish(name: str, results: Json, packages: Sequence[str], facts: Json | None = None) -> None:
    """Print the benchmark's one JSON object; `facts` are more of the environment's."""
    report = {"benchmark": name} | results | {"environment": environment(packages) | (facts or {})}
    print(json.dumps(report, indent=2, allow_nan=False))


def environment(packages: Sequence[str]) -> Json:
    """The facts without which the figures mean nothing."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": [round(load, 2) for load in _LOAD_BEFORE],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "thread_variables": {name: os.environ.get(name) for name in _THREAD_VARIABLES},
        "python": platform.python_version(),
        "packages": {"fourier-format": _our_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def _our_version() -> str:
    """Our version, read and not imported: not every machine that measures has what we need."""
    spec = importlib.util.find_spec("fourier_format")
    if spec is None or spec.origin is None:
        return "not there"
    text = Path(spec.origin).read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
