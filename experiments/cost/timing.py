"""Times of several jobs in turn, so that drift of the machine's speed meets all of them."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Job = Callable[[], object]
Seconds = dict[str, list[float]]
"""Name of a job -> seconds of a call, one a round."""

_MOST_CALLS = 200


def in_turn(
    jobs: Mapping[str, Job],
    rounds: int,
    checkpoint: Path,
    step: Callable[[], None],
    *,
    sample: float = 0.02,
    wait: Job | None = None,
) -> Seconds:
    """Returns the seconds of each job in each round.

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
    taken: Seconds = json.loads(checkpoint.read_text()) if checkpoint.exists() else {}
    done = min((len(taken.get(name, [])) for name in jobs), default=0)
    calls = {name: _calls(job, sample, wait) for name, job in jobs.items()} if done < rounds else {}
    for _ in range(done, rounds):
        gc.collect()
        for name, job in jobs.items():
            taken.setdefault(name, []).append(_timed(job, calls[name], wait))
        checkpoint.write_text(json.dumps(taken))
        step()
    return {name: taken[name] for name in jobs}


def _calls(job: Job, sample: float, wait: Job) -> int:
    """Returns how many calls make a sample; the first call of a job is not like the others."""
    _timed(job, 1, wait)
    seconds = _timed(job, 1, wait)
    return max(1, min(_MOST_CALLS, math.ceil(sample / seconds)))


def _timed(job: Job, calls: int, wait: Job) -> float:
    begun = time.perf_counter()
    for _ in range(calls):
        job()
    wait()
    return float(f"{(time.perf_counter() - begun) / calls:.4g}")


def _nothing() -> None:
    """A CPU has done what it was told when the call returns."""
