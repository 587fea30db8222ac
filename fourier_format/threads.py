"""Work on blocks of rows, by as many threads as there are cores; NumPy and SciPy let others run.

Work inside shared work is done by the thread that has it: more threads would only get in its way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Result = TypeVar("Result")

_MOST: Final = 8
"""Each thread holds a block; more of them would only wait for memory."""

_own = threading.local()


def by_blocks(
    work: Callable[[int, int], Result], rows: int, step: int, *, parallel: bool = True
) -> list[Result]:
    """Returns what `work(start, stop)` gives for each `step` rows, in order of rows.

    The blocks do not depend on the number of threads, so neither does what is summed over them.
    """
    starts = range(0, rows, step)
    threads = max(1, min(cores(), _MOST, len(starts))) if parallel and not is_shared() else 1
    if threads == 1:
        return [work(start, min(start + step, rows)) for start in starts]

    def share(first: int) -> list[Result]:
        _own.shared = True
        try:
            return [work(start, min(start + step, rows)) for start in starts[first::threads]]
        finally:
            _own.shared = False

    results: list[Result | None] = [None] * len(starts)
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(share, number) for number in range(1, threads)]
        results[::threads] = share(0)
        for number, other in enumerate(others, 1):
            results[number::threads] = other.result()
    return results  # type: ignore[return-value]  # every place is filled


def is_shared() -> bool:
    """Whether this thread does a part of work that other threads have parts of."""
    return getattr(_own, "shared", False)


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
