"""Times of several jobs in turn, so that drift of the machine's speed meets all of them."""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from experiments.locking import whole
from experiments.trial import Json

Job = Callable[[], object]

_MOST_CALLS = 200
_REST_SECONDS = 0.1
"""Before each sample: threads of an ONNX Runtime session wait in a loop for some 50 ms after its
last Run, and would take a core from the session that is timed next."""
_CPUS = Path("/proc/cpuinfo")


@dataclass(slots=True)
class Timed:
    """What rounds have found, and what else the machine did.

    Attributes:
        seconds: Name of a job -> seconds of a call, one a round.
        load: Of the machine over the minute before each round's end (`os.getloadavg`).
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)

    @property
    def around(self) -> Json:
        """What a result says beside its seconds: load of each round, model of the processor."""
        return {"load": self.load, "processor": processor()}


def in_turn(
    jobs: Mapping[str, Job],
    rounds: int,
    checkpoint: Path,
    step: Callable[[], None],
    *,
    sample: float = 0.02,
    wait: Job | None = None,
) -> Timed:
    """Returns the seconds of each job in each round.

    Each round begins with another job, so that none always has the same one before it.

    Rounds that `checkpoint` holds are not run again; it is written after each, and `step` called.

    Args:
        jobs: What is timed.
        rounds: How often.
        checkpoint: The file that keeps the rounds.
        step: Called after each round.
        sample: Seconds that are timed at least: a faster job is called several times.
        wait: What ends a sample, where a call returns before the device is done.
    """
    wait = wait or _nothing
    taken = Timed(**json.loads(checkpoint.read_text())) if checkpoint.exists() else Timed()
    done = len(taken.load)
    calls = {name: _calls(job, sample, wait) for name, job in jobs.items()} if done < rounds else {}
    names = list(jobs)
    for number in range(done, rounds):
        gc.collect()
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken.seconds.setdefault(name, []).append(_timed(jobs[name], calls[name], wait))
        taken.load.append(round(os.getloadavg()[0], 2))
        with whole(checkpoint) as partial:
            partial.write_text(json.dumps(asdict(taken)))
        step()
    return Timed({name: taken.seconds[name] for name in names}, taken.load)


def processor() -> str:
    """Returns the model of the CPU: what Linux calls it, or its architecture."""
    lines = _CPUS.read_text("utf-8").splitlines() if _CPUS.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _calls(job: Job, sample: float, wait: Job) -> int:
    """Returns how many calls make a sample; the first call of a job is not like the others."""
    _timed(job, 1, wait)
    seconds = _timed(job, 1, wait)
    return max(1, min(_MOST_CALLS, math.ceil(sample / seconds)))


def _timed(job: Job, calls: int, wait: Job) -> float:
    time.sleep(_REST_SECONDS)
    begun = time.perf_counter()
    for _ in range(calls):
        job()
    wait()
    return float(f"{(time.perf_counter() - begun) / calls:.4g}")


def _nothing() -> None:
    """A CPU has done what it was told when the call returns."""
